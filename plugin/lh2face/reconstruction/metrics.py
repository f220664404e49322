"""Depth errors of Unsup3D's tables."""

import torch
from torch import Tensor

from lh2face.rendering import normals_from_depth


def scale_invariant_depth_error(depth: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Compute SIDE: the standard deviation of ``log d − log d*`` over the mask (Unsup3D, eq. 7).

    Args:
        depth: ``(B, S, S)`` depth d > 0.
        truth: ``(B, S, S)`` true depth d* > 0.
        mask: ``(B, S, S)`` bool, the pixels that count.

    Returns:
        ``(B,)`` errors.
    """
    difference = torch.where(mask, depth.log() - truth.log(), 0)
    count = mask.sum((1, 2)).clamp_min(1)
    mean = difference.sum((1, 2)) / count
    return (difference.square().sum((1, 2)) / count - mean.square()).clamp_min(0).sqrt()


def mean_angle_deviation(depth: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Compute MAD: the mean angle between normals of two depth maps (Unsup3D, section 4.2).

    Args:
        depth: ``(B, S, S)`` depth.
        truth: ``(B, S, S)`` true depth.
        mask: ``(B, S, S)`` bool, the pixels that count. Its border is left out, because normals
            there use pixels outside of it.

    Returns:
        ``(B,)`` angles in degrees.
    """
    inner = -torch.nn.functional.max_pool2d(-mask.float()[:, None], 3, 1, 1)[:, 0] > 0
    cosine = (normals_from_depth(depth) * normals_from_depth(truth)).sum(1).clamp(-1, 1)
    angle = torch.rad2deg(torch.acos(cosine))
    return torch.where(inner, angle, 0).sum((1, 2)) / inner.sum((1, 2)).clamp_min(1)
