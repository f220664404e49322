"""Augmentation of training images: registered transforms, and the pure functions they use."""

from lh2face.augmentation.transforms import (
    RandomBlur,
    RandomCrop,
    RandomJPEG,
    RandomLowResolution,
    RandomMirror,
    RandomOcclusion,
    RandomPhotometric,
    RandomTransform,
)
from lh2face.augmentation.turned import TurnedFaces

__all__ = [
    "RandomBlur",
    "RandomCrop",
    "RandomJPEG",
    "RandomLowResolution",
    "RandomMirror",
    "RandomOcclusion",
    "RandomPhotometric",
    "RandomTransform",
    "TurnedFaces",
]
