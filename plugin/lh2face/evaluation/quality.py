"""How well a quality score such as κ predicts which comparisons fail."""

import numpy as np

from lh2face.evaluation.checks import (
    EvaluationError,
    check_columns,
    check_finite,
    check_least,
    check_rates,
)
from lh2face.evaluation.matching import expected_cosine

# Range of log s in which the calibrating factor s of κ is searched.
LOG_SCALES = (-20.0, 20.0)


def error_versus_reject(
    genuine_scores: np.ndarray, quality: np.ndarray, start_fnmr: float = 0.1, points: int = 96
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the FNMR as the comparisons of lowest quality are rejected.

    This is the error-versus-reject curve of Grother and Tabassi (PAMI 2007). The threshold is the
    one at which ``start_fnmr`` of all genuine comparisons fail.

    Args:
        genuine_scores: ``(n,)`` scores of genuine comparisons.
        quality: ``(n,)`` quality of each comparison: the lower of its two faces.
        start_fnmr: FNMR when no comparison is rejected, in [0, 1].
        points: Number of rejected shares, from 0 to 0.95, at least 2.

    Returns:
        Rejected shares ``(points,)`` and FNMR ``(points,)``.

    Raises:
        EvaluationError: If shapes do not fit, a number is not finite, or a value is out of range.
    """
    check_columns(genuine_scores=genuine_scores, quality=quality)
    check_finite(genuine_scores=genuine_scores, quality=quality)
    check_rates("start_fnmr", start_fnmr)
    check_least(2, points=points)
    failed = genuine_scores < np.quantile(genuine_scores, start_fnmr)
    kept = failed[np.argsort(-quality, kind="stable")]
    rejected = np.linspace(0, 0.95, points)
    counts = np.maximum(1, np.round(len(kept) * (1 - rejected))).astype(int)
    return rejected, np.cumsum(kept)[counts - 1] / counts


def reject_area(rejected: np.ndarray, fnmr: np.ndarray) -> float:
    """Compute the area under the curve divided by its width: the mean FNMR. Less is better.

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
