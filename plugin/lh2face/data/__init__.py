"""Faces on disk: the formats of the field, alignment, data sets; importing it registers."""

from lh2face.data.datasets import RecordFaces

__all__ = ["RecordFaces"]
