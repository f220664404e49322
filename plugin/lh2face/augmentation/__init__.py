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

__all__ = [
    "RandomBlur",
    "RandomCrop",
    "RandomJPEG",
    "RandomLowResolution",
    "RandomMirror",
    "RandomOcclusion",
    "RandomPhotometric",
    "RandomTransform",
]
