"""ROC curves and the true accept rate at a false accept rate."""

import numpy as np

from lh2face.evaluation.ijb import EvaluationError


def roc_curve(scores: np.ndarray, genuine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true accept rates at every distinct score, from (0, 0) on.

    Points on a straight line between their neighbours are left out, as scikit-learn's
    ``roc_curve`` does, which the nearest-FAR rule of the IJB protocol depends on.

    Args:
        scores: ``(P,)``.
        genuine: ``(P,)`` bool.

    Returns:
        ``(K,)`` false accept rates, ascending, and ``(K,)`` true accept rates.

    Raises:
        EvaluationError: If a score is NaN, or there are no genuine or no impostor pairs.
    """
    if np.isnan(scores).any():
        raise EvaluationError(f"scores: NaN at {np.flatnonzero(np.isnan(scores))[0]}")
    if genuine.all() or not genuine.any():
        kind = "impostor" if genuine.all() else "genuine"
        raise EvaluationError(f"labels: there are no {kind} pairs among {len(genuine)}")
    order = np.argsort(-scores, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]
    accepted = np.cumsum(genuine[order])[ends]
    false = 1 + ends - accepted
    corner = np.r_[True, (np.diff(false, 2) != 0) | (np.diff(accepted, 2) != 0), True]
    if len(ends) > 2:
        false, accepted = false[corner], accepted[corner]
    false, accepted = np.r_[0, false], np.r_[0, accepted]
    return false / false[-1], accepted / accepted[-1]


def tar_at_far(scores: np.ndarray, genuine: np.ndarray, fars: np.ndarray | list) -> np.ndarray:
    """True accept rate where the false accept rate is nearest to each of ``fars``.

    As insightface's ``eval_ijbc``: of equally near points, the one of the higher rate.

    Args:
        scores: ``(P,)``.
        genuine: ``(P,)`` bool.
        fars: F false accept rates.

    Returns:
        ``(F,)``.

    Raises:
        EvaluationError: As :func:`roc_curve`.
    """
    far, tar = (rates[::-1] for rates in roc_curve(scores, genuine))
    return np.array([tar[np.abs(far - wanted).argmin()] for wanted in fars])


def thinned(far: np.ndarray, tar: np.ndarray, points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """The curve at log-spaced false accept rates, for a plot: the best TAR at no more than each."""
    lowest = far[far > 0].min()
    grid = np.geomspace(lowest, 1, points)
    return grid, tar[np.searchsorted(far, grid * (1 + 1e-9), side="right") - 1]
