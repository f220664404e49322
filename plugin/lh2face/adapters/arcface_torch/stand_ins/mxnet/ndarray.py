"""Empty: arcface_torch needs it only for bins, which our ``load_bin`` reads without it."""
