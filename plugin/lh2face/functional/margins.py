"""Margins on the target similarity, and losses from the target and the negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Keeps the slope of sqrt(1 − cos²) finite at cosθ = ±1.
TINY = 1e-12


def margin_cross_entropy(target: Tensor, negatives: Tensor) -> Tensor:
    """Compute the softmax cross-entropy, ``mean log(1 + exp(negatives − target))``.

    This equals ``mean −log(e^target / (e^target + Σ_j e^{s_j}))``, where the s_j are the logits of
    the other classes.

    Args:
        target: ``(B,)`` target logits, after the margin.
        negatives: ``(B,)`` log Σ_j exp s_j of the other logits.

    Returns:
        Scalar, ≥ 0.
    """
    return F.softplus(negatives - target).mean()


def angular_margin(cos: Tensor, margin: Tensor | float, *, easy: bool = False) -> Tensor:
    """Apply ArcFace's margin: ``cos(θ + m)``; beyond θ = π − m, ``cosθ − m sin m`` instead.

    The first formula is eq. 3 of ArcFace (arXiv 1801.07698). It would rise again beyond θ = π − m.
    The second one, from the authors' first code, keeps falling.

    Args:
        cos: ``(B,)`` cosines of the targets; they are clamped to [−1, 1].
        margin: m in rad, in [0, π]; ``(B,)`` or a number.
        easy: Whether to apply the margin only where cosθ > 0; the other cosines do not change.

    Returns:
        ``(B,)``: cosines after the margin, ≤ 1; the second formula may be below −1.
    """
    cos = cos.clamp(-1, 1)
    margin = torch.as_tensor(margin, dtype=cos.dtype, device=cos.device)
    sin = (1 - cos.square()).clamp_min(TINY).sqrt()
    with_margin = cos * margin.cos() - sin * margin.sin()
    if easy:
        return torch.where(cos > 0, with_margin, cos)
    return torch.where(cos > -margin.cos(), with_margin, cos - margin * margin.sin())


def straight_through_margin(cos: Tensor, margin: float) -> Tensor:
    """Apply arcface_torch's margin: ``cos(θ + m)`` for every θ, with the gradient of ``cosθ``.

    This is what the code of insightface's arcface_torch computes, not the formula of the paper.

    Args:
        cos: ``(B,)`` cosines of the targets; they are clamped to [−1, 1].
        margin: m in rad, in [0, π].

    Returns:
        ``(B,)``: cosines after the margin, in [−1, 1].
    """
    cos = cos.clamp(-1, 1)
    return cos + ((cos.acos() + margin).cos() - cos).detach()


def positive_proxy_loss(target: Tensor, labels: Tensor) -> Tensor:
    """Compute ``mean_{p∈P+} log(1 + Σ_{i: y_i=p} exp(−t_i))``; P+ is the set of the batch's labels.

    This is the positive term of Proxy-Anchor (arXiv 2003.13911, eq. 4), and L_pps of LH2Face.

    Args:
        target: ``(B,)`` t_i: similarity of each sample to the proxy of its label, minus the margin.
        labels: ``(B,)`` int64 y_i.

    Returns:
        Scalar, ≥ 0.
    """
    sums = torch.where(labels[:, None] == labels, -target, -torch.inf).logsumexp(1)
    return mean_over_labels(F.softplus(sums), labels)


def mean_over_labels(values: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean over the different labels, each of which counts once.

    Args:
        values: ``(B,)``; equal for equal labels.
        labels: ``(B,)`` int64.

    Returns:
        Scalar.
    """
    share = (labels[:, None] == labels).sum(1, dtype=values.dtype).reciprocal()
    return (values * share).sum() / share.sum()
