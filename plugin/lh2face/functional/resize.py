"""Resizing of images."""

import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, size: int) -> Tensor:
    """Resize square images by bilinear interpolation, with antialiasing when they shrink.

    Args:
        images: ``(B, C, S, S)`` floats.
        size: Side of the result in px, ≥ 1.

    Returns:
        ``(B, C, size, size)``; the range of values stays.
    """
    if images.shape[-1] == size:
        return images
    # When enlarging, antialiasing changes nothing but is slow in PyTorch.
    smaller = size < images.shape[-1]
    return F.interpolate(
        images, (size, size), mode="bilinear", align_corners=False, antialias=smaller
    )
