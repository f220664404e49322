"""Importing this module registers the package's classes with mmengine, and patches mmengine.

:mod:`lh2face.mmengine_compat` describes the patches. A config imports this module with
``custom_imports = dict(imports=["lh2face.register"])``.
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
