"""Margins on the target similarity, and the losses over what is left of the others."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Keeps the slope of sqrt(1 − cos²) finite at cosθ = ±1.
TINY = 1e-12


def margin_cross_entropy(target: Tensor, negatives: Tensor) -> Tensor:
    """Softmax cross-entropy, ``mean log(1 + exp(negatives − target))``.

    Args:
        target: ``(B,)`` target logits, with their margin.
        negatives: ``(B,)`` logsumexp of the other logits.

    Returns:
        Scalar.
    """
    return F.softplus(negatives - target).mean()


def angular_margin(cos: Tensor, margin: Tensor | float, *, easy: bool = False) -> Tensor:
    """``cos(θ + m)``, and ``cosθ − m sin m`` past θ = π − m, where it would rise again.

    ArcFace (arXiv 1801.07698, eq. 3); the second branch is that of its authors' first code.

    Args:
        cos: ``(B,)`` cosines of the targets.
        margin: m in rad, ``(B,)`` or a number.
        easy: Apply the margin only where cosθ > 0, and leave the other cosines as they are.

    Returns:
        ``(B,)``.
    """
    cos = cos.clamp(-1, 1)
    margin = torch.as_tensor(margin, dtype=cos.dtype, device=cos.device)
    sin = (1 - cos.square()).clamp_min(TINY).sqrt()
    with_margin = cos * margin.cos() - sin * margin.sin()
    if easy:
        return torch.where(cos > 0, with_margin, cos)
    return torch.where(cos > -margin.cos(), with_margin, cos - margin * margin.sin())


def straight_through_margin(cos: Tensor, margin: float) -> Tensor:
    """``cos(θ + m)`` for every θ, with the gradient of ``cosθ``: what arcface_torch computes.

    Args:
        cos: ``(B,)`` cosines of the targets.
        margin: m in rad.

    Returns:
        ``(B,)``.
    """
    cos = cos.clamp(-1, 1)
    return cos + ((cos.acos() + margin).cos() - cos).detach()


def positive_proxy_loss(target: Tensor, labels: Tensor) -> Tensor:
    """``mean_{p∈P+} log(1 + Σ_{i: y_i=p} exp(−t_i))``, P+ being the labels of the batch.

    The positive term of Proxy-Anchor (arXiv 2003.13911, eq. 4), and L_pps.

    Args:
        target: ``(B,)`` t, similarities to the own proxies, less their margin.
        labels: ``(B,)`` int64.

    Returns:
        Scalar.
    """
    sums = torch.where(labels[:, None] == labels, -target, -torch.inf).logsumexp(1)
    return mean_over_labels(F.softplus(sums), labels)


def mean_over_labels(values: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labels of a batch of values ``(B,)`` that samples of one label share."""
    share = (labels[:, None] == labels).sum(1, dtype=values.dtype).reciprocal()
    return (values * share).sum() / share.sum()
