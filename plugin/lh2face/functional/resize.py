"""Resizing of images."""

import torch.nn.functional as F
from torch import Tensor


def resize(images: Tensor, size: int) -> Tensor:
    """Resize square images to ``(B, C, size, size)``, bilinearly, antialiased when shrinking."""
    if images.shape[-1] == size:
        return images
    # When enlarging, antialiasing changes nothing but is slow in PyTorch.
    smaller = size < images.shape[-1]
    return F.interpolate(
        images, (size, size), mode="bilinear", align_corners=False, antialias=smaller
    )
