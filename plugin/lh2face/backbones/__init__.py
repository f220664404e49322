"""Backbones: aligned face crops in, unnormalised embeddings out."""

from lh2face.backbones.iresnet import IResNet
from lh2face.backbones.mobilefacenet import MobileFaceNet
from lh2face.backbones.timm import TimmBackbone
from lh2face.backbones.vit import VisionTransformer

__all__ = ["IResNet", "MobileFaceNet", "TimmBackbone", "VisionTransformer"]
