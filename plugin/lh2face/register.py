"""Importing it registers every part of the package with mmengine, and makes mmengine fit PyTorch.

A config names it: ``custom_imports = dict(imports=["lh2face.register"])``.
"""

from lh2face import (
    augmentation,
    backbones,
    distributed,
    heads,
    mmengine_compat,
    recognizers,
    reconstruction,
    rendering,
    training,
)
from lh2face.data import datasets

mmengine_compat.apply()

__all__ = [
    "augmentation",
    "backbones",
    "datasets",
    "distributed",
    "heads",
    "recognizers",
    "reconstruction",
    "rendering",
    "training",
]
