"""Augmentation of training images: registered transforms over pure functions of pixels."""

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
