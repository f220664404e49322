"""mxnet: reading records and images."""

from . import image, ndarray, recordio

__all__ = ["image", "ndarray", "recordio"]
