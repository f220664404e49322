"""``lh2face demo``: a page on this machine that compares two photos and turns their faces."""
