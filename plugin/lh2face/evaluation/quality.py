"""How well a quality score such as κ predicts which comparisons fail."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lh2face.evaluation.checks import (
    EvaluationError,
    check_columns,
    check_finite,
    check_least,
    check_pairs,
    check_rates,
)
from lh2face.evaluation.matching import expected_cosine
from lh2face.evaluation.roc import check_labels

# FNMR at which the curves begin, and the number of steps of the FNMR between thresholds.
START_FNMR, LEVELS = 0.1, 1000
# Number of comparisons that are counted at a time.
BLOCK = 1 << 22

# Range of log s in which the calibrating factor s of κ is searched.
LOG_SCALES = (-20.0, 20.0)


@dataclass(frozen=True)
class RejectCurves:
    """The FNMR as the comparisons of lowest quality are rejected.

    Attributes:
        rejected: ``(96,)`` rejected shares of the genuine comparisons, from 0 to 0.95.
        fnmr: ``(96,)`` FNMR at a constant threshold. It also falls if low quality only means low
            scores, of genuine and impostor comparisons alike.
        fnmr_at_far: ``(96,)`` FNMR at a constant FAR: the threshold is always the lowest at which
            no larger share of the kept impostor comparisons passes. It falls only if quality
            predicts errors.
        far: This constant FAR: that of the constant threshold when nothing is rejected.
    """

    rejected: np.ndarray
    fnmr: np.ndarray
    fnmr_at_far: np.ndarray
    far: float


def error_versus_reject(
    scores: np.ndarray, genuine: np.ndarray, quality: np.ndarray
) -> RejectCurves:
    """Compute the FNMR as the comparisons of lowest quality are rejected.

    The curve at a constant threshold is that of Grother and Tabassi (PAMI 2007). The threshold is
    the one at which one in ten genuine comparisons fails when none is rejected. The threshold at a
    constant FAR is a quantile of the genuine scores, one of 0, 0.001, …, 1. Where no impostor
    comparison is kept, the threshold is the constant one.

    Args:
        scores: ``(n,)`` scores of the comparisons.
        genuine: ``(n,)`` bool, whether a comparison is genuine; both kinds must exist.
        quality: ``(n,)`` quality of each comparison: the lower of its two faces.

    Returns:
        The curves.

    Raises:
        EvaluationError: If shapes or types do not fit, a number is not finite, or there are only
            genuine or only impostor comparisons.
    """
    check_pairs(scores, genuine=genuine)
    check_labels(genuine)
    check_columns(scores=scores, quality=quality)
    check_finite(quality=quality)
    own = scores[genuine]
    order = np.argsort(-quality[genuine], kind="stable")
    rejected = np.linspace(0, 0.95, 96)
    counts = np.maximum(1, np.round(len(own) * (1 - rejected))).astype(int)
    # At the first point nothing is rejected, however low its quality.
    lowest = np.r_[-np.inf, quality[genuine][order[counts[1:] - 1]]]
    # Quantiles of the genuine scores; NumPy's own function is slow for so many of them.
    places = (len(own) - 1) * np.linspace(0, 1, 1 + LEVELS)
    levels = np.r_[np.interp(places, np.arange(len(own)), np.sort(own)), np.inf]
    passing = _passing(scores, ~genuine, quality, levels, lowest)
    far = passing[:, 1:] / np.maximum(passing[:, :1], 1)
    start = round(START_FNMR * LEVELS)
    held = np.where(passing[:, 0] > 0, (far <= far[0, start]).argmax(axis=1), start)
    # The number of levels at or below each genuine score, which fails at all higher levels.
    passed = np.searchsorted(levels, own[order], side="right")

    def fnmr(thresholds: Iterable[int]) -> np.ndarray:
        pairs = zip(counts, thresholds, strict=True)
        return np.array([(passed[:count] <= level).mean() for count, level in pairs])

    return RejectCurves(
        rejected, fnmr([start] * len(counts)), fnmr(held.tolist()), float(far[0, start])
    )


def _passing(
    scores: np.ndarray, which: np.ndarray, quality: np.ndarray, levels: np.ndarray,
    lowest: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Count comparisons by the quality that is kept and by the score that passes.

    Args:
        scores: ``(n,)`` scores.
        which: ``(n,)`` bool, which comparisons are counted.
        quality: ``(n,)`` qualities.
        levels: ``(L,)`` thresholds, ascending.
        lowest: ``(P,)`` lowest qualities that are kept, ascending.

    Returns:
        ``(P, 1 + L)``: of the comparisons kept with each lowest quality, how many there are, and
        how many have at least the score of each level.
    """
    cells = (len(lowest) + 1, len(levels) + 1)
    counts = np.zeros(cells, np.int64)
    for at in range(0, len(scores), BLOCK):
        rows = which[at : at + BLOCK]
        kept = np.searchsorted(lowest, quality[at : at + BLOCK][rows], side="right")
        passed = np.searchsorted(levels, scores[at : at + BLOCK][rows], side="right")
        found = np.bincount(kept * cells[1] + passed, minlength=cells[0] * cells[1])
        counts += found.reshape(cells)
    totals: np.ndarray = counts[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1][1:]
    return totals


def reject_area(rejected: np.ndarray, fnmr: np.ndarray) -> float:
    """Compute the area under a curve divided by its width: the mean FNMR. Less is better.

    Args:
        rejected: ``(points,)`` rejected shares, ascending.
        fnmr: ``(points,)`` FNMR.

    Returns:
        Mean FNMR in [0, 1].

    Raises:
        EvaluationError: If shapes do not fit, a share is not in [0, 1], or the curve has no width.
    """
    check_columns(rejected=rejected, fnmr=fnmr)
    check_rates("rejected", rejected)
    check_rates("fnmr", fnmr)
    if not rejected[-1] > rejected[0]:
        raise EvaluationError(f"rejected: expected rising shares, found {rejected.tolist()}")
    return float(np.trapezoid(fnmr, rejected) / (rejected[-1] - rejected[0]))


def reject_areas(curves: RejectCurves) -> dict[str, float]:
    """Compute the areas of both curves: ``area`` at a constant threshold, and ``area_at_far``."""
    return {
        "area": reject_area(curves.rejected, curves.fnmr),
        "area_at_far": reject_area(curves.rejected, curves.fnmr_at_far),
    }


def kappa_scale(kappa: np.ndarray, observed: np.ndarray, dim: int) -> float:
    """Find the factor s that calibrates κ on average, after training.

    With it the mean of ``A_n(s κ1) A_n(s κ2)`` over genuine pairs equals their mean cosine. It is
    like the temperature of a classifier (Guo et al., ICML 2017): one number, which does not change
    the order of the faces by κ.

    Args:
        kappa: ``(P, 2)`` κ of the faces of genuine pairs, P ≥ 1.
        observed: ``(P,)`` cosines of the pairs.
        dim: Dimension n of the distribution, ≥ 2.

    Returns:
        s, from exp(−20) to exp(20); one of these limits if no factor in between is enough.

    Raises:
        EvaluationError: If shapes do not fit, a number is not finite, a κ is below 0, or there is
            no pair.
    """
    from scipy.optimize import brentq

    check_columns(observed=observed, first=kappa[:, 0], second=kappa[:, 1])
    check_finite(observed=observed)
    check_least(1, pairs=len(observed))

    def excess(log_scale: float) -> float:
        first, second = np.exp(log_scale) * kappa.T.astype(np.float64)
        return float((expected_cosine(first, second, dim) - observed).mean())

    low, high = LOG_SCALES
    if excess(low) >= 0 or excess(high) <= 0:
        return float(np.exp(low if excess(low) >= 0 else high))
    return float(np.exp(brentq(excess, low, high, xtol=1e-6)))


def calibrated_cosine(
    kappa: np.ndarray, observed: np.ndarray, half: np.ndarray, dim: int
) -> np.ndarray:
    """Predict cosines ``A_n(s κ1) A_n(s κ2)`` of genuine pairs, with s from the other half of them.

    Args:
        kappa: ``(P, 2)`` κ of the faces of the pairs.
        observed: ``(P,)`` cosines of the pairs.
        half: ``(P,)`` bool, the half of each pair. If all pairs are in one half, s is from this
            half.
        dim: Dimension n of the distribution, ≥ 2.

    Returns:
        ``(P,)`` predicted cosines.

    Raises:
        EvaluationError: For the reasons of :func:`kappa_scale`.
    """
    predicted = np.empty(len(observed))
    for rows in (half, ~half):
        others = ~rows if not rows.all() else rows
        if rows.any():
            scale = kappa_scale(kappa[others], observed[others], dim)
            first, second = scale * kappa[rows].T
            predicted[rows] = expected_cosine(first, second, dim)
    return predicted


def calibration(
    predicted: np.ndarray, observed: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, float]:
    """Compare predicted and observed mean cosines, in bins with equal numbers of comparisons.

    Args:
        predicted: ``(n,)`` predictions, such as ``A_n(κ1) A_n(κ2)`` of genuine comparisons.
        observed: ``(n,)`` observed cosines.
        bins: Number B of bins, at least 1; with fewer comparisons there are n bins.

    Returns:
        Mean prediction and mean observation, ``(min(B, n),)`` each, in order of the prediction; and
        the expected calibration error: the mean absolute difference of the two.

    Raises:
        EvaluationError: If shapes do not fit, a number is not finite, or there is no bin.
    """
    check_columns(predicted=predicted, observed=observed)
    check_finite(predicted=predicted, observed=observed)
    check_least(1, bins=bins)
    order = np.array_split(np.argsort(predicted, kind="stable"), min(bins, len(predicted)))
    means = np.array([(predicted[part].mean(), observed[part].mean()) for part in order])
    sizes = np.array(list(map(len, order)))
    error = np.average(np.abs(means[:, 0] - means[:, 1]), weights=sizes)
    return means[:, 0], means[:, 1], float(error)
