"""Depth errors of Unsup3D's tables."""

import torch
from torch import Tensor

from lh2face.rendering import normals_from_depth


def scale_invariant_depth_error(depth: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """SIDE: the standard deviation of ``log d − log d*`` over the mask (Unsup3D, eq. 7).

    Args:
        depth: ``(B, S, S)`` > 0.
        truth: ``(B, S, S)`` > 0.
        mask: ``(B, S, S)`` bool.

    Returns:
        ``(B,)``.
    """
    difference = torch.where(mask, depth.log() - truth.log(), 0)
    count = mask.sum((1, 2)).clamp_min(1)
    mean = difference.sum((1, 2)) / count
    return (difference.square().sum((1, 2)) / count - mean.square()).clamp_min(0).sqrt()


def mean_angle_deviation(depth: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """MAD: the mean angle between the normals of two depth maps, degrees (Unsup3D, section 4.2).

    Args:
        depth: ``(B, S, S)``.
        truth: ``(B, S, S)``.
        mask: ``(B, S, S)`` bool; its border is left out, where normals reach outside it.

    Returns:
        ``(B,)``.
    """
    inner = -torch.nn.functional.max_pool2d(-mask.float()[:, None], 3, 1, 1)[:, 0] > 0
    cosine = (normals_from_depth(depth) * normals_from_depth(truth)).sum(1).clamp(-1, 1)
    angle = torch.rad2deg(torch.acos(cosine))
    return torch.where(inner, angle, 0).sum((1, 2)) / inner.sum((1, 2)).clamp_min(1)
