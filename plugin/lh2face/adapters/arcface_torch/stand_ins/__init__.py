"""Stand-ins for packages that arcface_torch imports; this folder is put on ``sys.path``."""
