"""How well a quality score such as κ tells which comparisons go wrong."""

import numpy as np

from lh2face.evaluation.checks import (
    EvaluationError,
    check_columns,
    check_finite,
    check_least,
    check_rates,
)


def error_versus_reject(
    genuine_scores: np.ndarray, quality: np.ndarray, start_fnmr: float = 0.1, points: int = 96
) -> tuple[np.ndarray, np.ndarray]:
    """FNMR as the comparisons of lowest quality are rejected (Grother and Tabassi, PAMI 2007).

    The threshold is the one at which ``start_fnmr`` of all genuine comparisons fail.

    Args:
        genuine_scores: ``(n,)`` scores of genuine comparisons.
        quality: ``(n,)``, the lower of the two faces.
        start_fnmr: FNMR with nothing rejected.
        points: Rejected shares, from 0 to 0.95.

    Returns:
        Rejected shares ``(points,)`` and FNMR ``(points,)``.

    Raises:
        EvaluationError: If shapes do not fit, a number is not finite or a rate is none.
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
    """Area under the curve over its width: the mean FNMR; less is better.

    Args:
        rejected: ``(points,)`` ascending shares.
        fnmr: ``(points,)``.

    Raises:
        EvaluationError: If shapes do not fit, a share is none, or the curve has no width.
    """
    check_columns(rejected=rejected, fnmr=fnmr)
    check_rates("rejected", rejected)
    check_rates("fnmr", fnmr)
    if not rejected[-1] > rejected[0]:
        raise EvaluationError(f"rejected: expected rising shares, found {rejected.tolist()}")
    return float(np.trapezoid(fnmr, rejected) / (rejected[-1] - rejected[0]))


def calibration(
    predicted: np.ndarray, observed: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, float]:
    """Predicted mean cosines beside the observed, in bins of as many comparisons each.

    Args:
        predicted: ``(n,)``, such as ``A_n(κ1) A_n(κ2)`` of genuine comparisons.
        observed: ``(n,)`` their cosines.
        bins: B, at most n.

    Returns:
        Mean prediction and mean observation ``(min(B, n),)`` each, by rising prediction; and the
        expected calibration error, the mean distance between the two.

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
