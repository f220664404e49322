"""Heads: thin modules over ``functional``; importing them registers them."""

from lh2face.heads.arcface import ArcFaceHead
from lh2face.heads.cosface import CosFaceHead
from lh2face.heads.lh2face import LH2FaceHead

__all__ = ["ArcFaceHead", "CosFaceHead", "LH2FaceHead"]
