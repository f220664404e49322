"""Scores of two faces or templates from their cosine and their concentrations."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lh2face.evaluation.checks import EvaluationError, check_finite, check_least
from lh2face.functional.vmf import joint_concentration, log_peak_ratio, mean_resultant_length

BLOCK = 1 << 20
# How far the cosine of two float32 directions may lie outside of [−1, 1].
ROUNDING = 1e-4


def mutual_likelihood(
    cos: np.ndarray, kappa1: np.ndarray, kappa2: np.ndarray, dim: int
) -> np.ndarray:
    """Compute :func:`lh2face.functional.vmf.mutual_likelihood` from the cosines of the directions.

    The score is exactly symmetric in the two faces, so equal pairs tie.

    Args:
        cos: Cosines in [−1, 1], any shape.
        kappa1: Concentrations ≥ 0, which broadcast with ``cos``.
        kappa2: Concentrations ≥ 0, which broadcast with ``cos``.
        dim: Dimension n of the distribution, ≥ 2.

    Returns:
        Log-likelihood ratios, float64 of the shape of ``cos``.

    Raises:
        EvaluationError: If a number is not finite or outside of its range.
    """
    kappa1, kappa2 = _checked(kappa1, kappa2, dim)
    check_finite(cos=cos)
    if max(cos.max(initial=0), -cos.min(initial=0)) > 1 + ROUNDING:
        raise EvaluationError(f"cos: expected -1 to 1, found {cos.min()} to {cos.max()}")
    apart = 1 - cos.clip(-1, 1).astype(np.float64)
    joint, lost = joint_concentration(apart, kappa1, kappa2)
    first, second, together = (
        _in_blocks(log_peak_ratio, kappa, dim) for kappa in (kappa1, kappa2, joint)
    )
    score: np.ndarray = first + second - together - lost
    return score


def expected_cosine(kappa1: np.ndarray, kappa2: np.ndarray, dim: int) -> np.ndarray:
    """Compute ``A_n(κ1) A_n(κ2)``: the mean cosine of two draws around the same direction.

    Args:
        kappa1: Concentrations ≥ 0.
        kappa2: Concentrations ≥ 0, which broadcast with ``kappa1``.
        dim: Dimension n of the distribution, ≥ 2.

    Returns:
        Mean cosines in [0, 1], float64.

    Raises:
        EvaluationError: If a number is not finite or outside of its range.
    """
    kappa1, kappa2 = _checked(kappa1, kappa2, dim)
    first, second = (_in_blocks(mean_resultant_length, kappa, dim) for kappa in (kappa1, kappa2))
    mean: np.ndarray = first * second
    return mean


def _checked(kappa1: np.ndarray, kappa2: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Check concentrations and return them in float64, in which their squares do not overflow."""
    check_least(2, dim=dim)
    check_finite(kappa1=kappa1, kappa2=kappa2)
    least = min(kappa1.min(initial=0), kappa2.min(initial=0))
    if least < 0:
        raise EvaluationError(f"kappa: expected at least 0, found {least}")
    return kappa1.astype(np.float64), kappa2.astype(np.float64)


def _in_blocks(
    function: Callable[[Tensor, int], Tensor], kappa: np.ndarray, dim: int
) -> np.ndarray:
    """Apply a torch function of κ and n in float64, in blocks that bound its working memory."""
    values = np.asarray(kappa, np.float64, order="C")
    out = np.empty_like(values)
    for at in range(0, values.size, BLOCK):
        block = values.reshape(-1)[at : at + BLOCK]
        out.reshape(-1)[at : at + BLOCK] = function(torch.from_numpy(block), dim).numpy()
    return out
