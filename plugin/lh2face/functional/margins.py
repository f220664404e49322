"""Margins on the target similarity, and losses from the target and the negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Keeps the slope of sqrt(1 − cos²) finite at cosθ = ±1.
TINY = 1e-12


def margin_cross_entropy(target: Tensor, negatives: Tensor) -> Tensor:
    """Softmax cross-entropy, ``mean log(1 + exp(negatives − target))``.

    Args:
        target: ``(B,)`` target logits, after the margin.
        negatives: ``(B,)`` logsumexp of the other logits.

    Returns:
        Scalar.
    """
    return F.softplus(negatives - target).mean()


def angular_margin(cos: Tensor, margin: Tensor | float, *, easy: bool = False) -> Tensor:
    """ArcFace's margin: ``cos(θ + m)``; beyond θ = π − m, ``cosθ − m sin m`` instead.

    The first formula is eq. 3 of arXiv 1801.07698. It would rise again beyond θ = π − m; the second
    one is from the authors' first code.

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
    """arcface_torch's margin: ``cos(θ + m)`` for every θ, with the gradient of ``cosθ``.

    Args:
        cos: ``(B,)`` cosines of the targets.
        margin: m in rad.

    Returns:
        ``(B,)``.
    """
    cos = cos.clamp(-1, 1)
    return cos + ((cos.acos() + margin).cos() - cos).detach()


def positive_proxy_loss(target: Tensor, labels: Tensor) -> Tensor:
    """Compute ``mean_{p∈P+} log(1 + Σ_{i: y_i=p} exp(−t_i))``; P+ are the labels of the batch.

    This is the positive term of Proxy-Anchor (arXiv 2003.13911, eq. 4), and L_pps of LH2Face.

    Args:
        target: ``(B,)`` t: similarities to the proxies of the labels, minus the margin.
        labels: ``(B,)`` int64.

    Returns:
        Scalar.
    """
    sums = torch.where(labels[:, None] == labels, -target, -torch.inf).logsumexp(1)
    return mean_over_labels(F.softplus(sums), labels)


def mean_over_labels(values: Tensor, labels: Tensor) -> Tensor:
    """Mean over the distinct labels of values ``(B,)`` that are equal for equal labels."""
    share = (labels[:, None] == labels).sum(1, dtype=values.dtype).reciprocal()
    return (values * share).sum() / share.sum()
