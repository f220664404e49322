"""Face reconstruction from single images; importing it registers the reconstructors."""

from lh2face.reconstruction.unsup3d import Reconstruction, Unsup3DReconstructor

__all__ = ["Reconstruction", "Unsup3DReconstructor"]
