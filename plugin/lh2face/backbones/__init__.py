"""Backbones: aligned face crops in, unnormalised embeddings out."""

from lh2face.backbones.iresnet import IResNet
from lh2face.backbones.mobilefacenet import MobileFaceNet

__all__ = ["IResNet", "MobileFaceNet"]
