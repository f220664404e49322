"""Stand-in for mxnet: reading of records and images."""

from lh2face.adapters.arcface_torch.stand_ins.mxnet import image, ndarray, recordio

__all__ = ["image", "ndarray", "recordio"]
