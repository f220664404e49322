"""Losses of the reconstruction."""

import math

import torch
from torch import Tensor

# Added to the predicted scale, which keeps the loss finite.
SIGMA_MIN = 1e-2


def confidence_l1(prediction: Tensor, target: Tensor, mask: Tensor, sigma: Tensor) -> Tensor:
    """Compute the negative log-likelihood of a Laplacian with predicted scale (Unsup3D, eq. 3).

    It is the mean of ``√2 |a − b| / σ + log(√2 σ)`` over the mask, with σ = sigma + 0.01.

    Args:
        prediction: ``(B, 3, S, S)`` predicted image.
        target: ``(B, 3, S, S)`` true image.
        mask: ``(B, S, S)`` bool, the pixels that count.
        sigma: ``(B, 1, S, S)`` predicted scale, ≥ 0.

    Returns:
        Scalar; 0 for an empty mask.
    """
    sigma = sigma + SIGMA_MIN
    distance = (prediction - target).abs().mean(1, keepdim=True)
    loss = math.sqrt(2) * distance / sigma + torch.log(math.sqrt(2) * sigma)
    return torch.where(mask[:, None], loss, 0).sum() / mask.sum().clamp_min(1)
