"""LH2Face (arXiv 2506.23555) for face-recognition toolboxes; importing it registers its parts."""

from lh2face import (
    augmentation,
    backbones,
    data,
    distributed,
    heads,
    recognizers,
    reconstruction,
    rendering,
    training,
)

__all__ = [
    "augmentation",
    "backbones",
    "data",
    "distributed",
    "heads",
    "recognizers",
    "reconstruction",
    "rendering",
    "training",
]
