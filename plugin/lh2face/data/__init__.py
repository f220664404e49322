"""Faces on disk: file formats, alignment, and data sets."""
