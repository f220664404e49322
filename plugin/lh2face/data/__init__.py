"""Faces on disk: the formats of the field, alignment, data sets."""
