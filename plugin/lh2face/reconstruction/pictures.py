"""Images and reconstructions as pictures of uint8 pixels."""

import numpy as np
from torch import Tensor

from lh2face.reconstruction.base import Reconstruction, Reconstructor


def relief(model: Reconstructor, face: Reconstruction) -> np.ndarray:
    """Convert canonical depth to grey images ``(N, S, S)`` uint8, in which near is bright."""
    near = (model.max_depth - face.depth) / (model.max_depth - model.min_depth)
    return (near * 255).clamp(0, 255).byte().cpu().numpy()


def pixels(images: Tensor) -> np.ndarray:
    """Convert images ``(N, 3, S, S)`` in [−1, 1] to ``(N, S, S, 3)`` uint8."""
    return ((images + 1) * 127.5).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
