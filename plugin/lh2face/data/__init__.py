"""Faces on disk: file formats, alignment, and data sets; importing it registers the data set."""

from lh2face.data.datasets import RecordFaces

__all__ = ["RecordFaces"]
