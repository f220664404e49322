"""Face reconstruction from single images; importing it registers the reconstructors."""

from lh2face.reconstruction.base import Reconstruction, Reconstructor
from lh2face.reconstruction.linear_3dmm import Linear3DMMReconstructor
from lh2face.reconstruction.trainer import ReconstructorTrainer
from lh2face.reconstruction.unsup3d import Unsup3DReconstructor

__all__ = [
    "Linear3DMMReconstructor",
    "Reconstruction",
    "Reconstructor",
    "ReconstructorTrainer",
    "Unsup3DReconstructor",
]
