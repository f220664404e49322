"""Imported for verification bins, which :mod:`lh2face.data.verification_bin` reads."""
