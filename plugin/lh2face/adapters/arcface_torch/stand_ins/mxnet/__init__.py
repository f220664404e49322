"""Stand-in for mxnet: reading of records and images."""

from . import image, ndarray, recordio

__all__ = ["image", "ndarray", "recordio"]
