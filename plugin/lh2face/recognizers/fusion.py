"""Fusion: parts of a reconstruction as additional input channels of the backbone."""

from typing import Any

import torch
from torch import Tensor

from lh2face.functional.resize import resize

# Number of channels that each kind of fusion adds to the image's three.
FUSION_CHANNELS = {"none": 0, "canonical": 3, "depth": 1, "canonical_depth": 4}
# Canonical depth is in 1 ± 0.1; these numbers scale it to [−1, 1], the range of the image.
DEPTH_CENTER, DEPTH_HALF_RANGE = 1.0, 0.1


def fuse(images: Tensor, reconstruction: Any, fusion: str) -> Tensor:
    """Concatenate images with the channels that a kind of fusion adds.

    Args:
        images: ``(B, 3, S, S)`` in [−1, 1].
        reconstruction: :class:`~lh2face.reconstruction.base.Reconstruction` of the images, of any
            size; not read if ``fusion`` is "none".
        fusion: A key of ``FUSION_CHANNELS``.

    Returns:
        ``(B, 3 + FUSION_CHANNELS[fusion], S, S)``, channels last in memory.
    """
    size = images.shape[-1]
    channels = [images]
    if fusion in ("canonical", "canonical_depth"):
        channels.append(resize(reconstruction.canonical, size))
    if fusion in ("depth", "canonical_depth"):
        relief = (reconstruction.depth - DEPTH_CENTER) / DEPTH_HALF_RANGE
        channels.append(resize(relief[:, None], size))
    return torch.cat(channels, 1).contiguous(memory_format=torch.channels_last)
