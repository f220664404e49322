"""ROC curves and the true accept rate at a false accept rate."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lh2face.evaluation.checks import (
    EvaluationError,
    check_columns,
    check_finite,
    check_flags,
    check_least,
    check_pairs,
    check_rates,
)

BLOCK = 1 << 22


def roc_curve(scores: np.ndarray, genuine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true accept rates at every distinct score, from (0, 0) on.

    Points on a straight line between their neighbours are left out, as scikit-learn's
    ``roc_curve`` does, which the nearest-FAR rule of the IJB protocol depends on.

    Beyond the arguments it takes one sorted copy of the scores, and space for scores that tie or
    are genuine: all others are single impostor pairs, which lie on a straight line.

    Args:
        scores: ``(P,)``.
        genuine: ``(P,)`` bool.

    Returns:
        ``(K,)`` false accept rates, ascending, and ``(K,)`` true accept rates.

    Raises:
        EvaluationError: If shapes or types do not fit, a score is not finite, or there are no
            genuine or no impostor pairs.
    """
    check_pairs(scores, genuine=genuine)
    check_labels(genuine)
    ranked, own = _sorted(scores), np.sort(scores[genuine])
    values = np.unique(np.r_[own, _ties(ranked)])
    # Groups of equal scores that tie or are genuine: [start, end) in ``ranked``, and increments.
    start, end = (np.searchsorted(ranked, values, side) for side in ("left", "right"))
    accepts = np.subtract(*(np.searchsorted(own, values, side) for side in ("right", "left")))
    steps = np.stack([end - start - accepts, accepts], axis=1)
    lines = np.array([1, 0])

    # A threshold lies below the scores from ``cut`` on; lines can only turn beside those groups.
    top = np.searchsorted(ranked, ranked[-1])
    cut = np.unique(np.r_[0, start, end, top])
    cut = cut[cut < len(ranked)]
    above, below = (_rows(edge, steps, cut, lines) for edge in (start, end))
    cut = cut[(above != below).any(axis=1) | (cut == 0) | (cut == top)][::-1]
    accepted = len(own) - np.r_[0, np.cumsum(accepts)][np.searchsorted(start, cut)]
    false = np.r_[0, len(ranked) - cut - accepted]
    return false / false[-1], np.r_[0, accepted] / len(own)


def tar_at_far(scores: np.ndarray, genuine: np.ndarray, fars: Sequence[float]) -> np.ndarray:
    """True accept rate where the false accept rate is nearest to each of ``fars``.

    Args:
        scores: ``(P,)``.
        genuine: ``(P,)`` bool.
        fars: F false accept rates.

    Returns:
        ``(F,)``.

    Raises:
        EvaluationError: As :func:`roc_curve`.
    """
    return nearest_tar(*roc_curve(scores, genuine), fars)


def nearest_tar(far: np.ndarray, tar: np.ndarray, fars: Sequence[float]) -> np.ndarray:
    """TAR of the curve's points nearest to each of ``fars``.

    As insightface's ``eval_ijbc``: of equally near points, the one of the higher rate.

    Args:
        far: ``(K,)`` ascending.
        tar: ``(K,)``.
        fars: F false accept rates.

    Returns:
        ``(F,)``.

    Raises:
        EvaluationError: If shapes do not fit, or a rate is none.
    """
    _check_curve(far, tar)
    check_rates("fars", fars)
    far, tar = far[::-1], tar[::-1]
    return np.array([tar[np.abs(far - wanted).argmin()] for wanted in fars])


def tar_figures(
    far: np.ndarray, tar: np.ndarray, fars: Sequence[float], impostors: int
) -> dict[str, float | None]:
    """:func:`nearest_tar` by FAR; None where the FAR is finer than one of the impostor pairs.

    Raises:
        EvaluationError: As :func:`nearest_tar`, or if there are no impostor pairs.
    """
    check_least(1, impostors=impostors)
    figures = zip(fars, nearest_tar(far, tar, fars).tolist(), strict=True)
    return {f"{far:g}": value if far * impostors >= 1 else None for far, value in figures}


def threshold_at_far(impostor_scores: np.ndarray, far: float) -> float:
    """The lowest score above which no more than a share ``far`` of the impostor pairs lie.

    Args:
        impostor_scores: ``(n,)``.
        far: False accept rate, in [0, 1).

    Raises:
        EvaluationError: If there are no impostor pairs, a score is not finite, or ``far`` is
            outside of [0, 1).
    """
    if not len(impostor_scores):
        raise EvaluationError("labels: there are no impostor pairs")
    check_columns(impostor_scores=impostor_scores)
    check_finite(impostor_scores=impostor_scores)
    if not 0 <= far < 1:
        raise EvaluationError(f"far: expected a rate from 0 to below 1, found {far}")
    accepted = share_of(far, len(impostor_scores))
    return float(np.sort(impostor_scores)[::-1][accepted])


def share_of(rate: float, count: float) -> int:
    """The largest whole number that is no more than the rate of a count.

    A product such as 0.29 · 100 falls short of a whole number by its rounding alone.
    """
    return int(rate * count * (1 + 1e-12))


def thinned(far: np.ndarray, tar: np.ndarray, points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """The curve at log-spaced false accept rates, for a plot: the best TAR at no more than each.

    Args:
        far: ``(K,)`` ascending, as :func:`roc_curve` returns it.
        tar: ``(K,)``.
        points: Number of rates, from the lowest that is not 0 to 1.

    Returns:
        ``(points,)`` false and true accept rates.

    Raises:
        EvaluationError: If shapes do not fit, or no false accept rate is above 0.
    """
    _check_curve(far, tar)
    if not far[-1] > 0:
        raise EvaluationError("far: expected a rate above 0, found none")
    lowest = far[far > 0].min()
    grid = np.geomspace(lowest, 1, points)
    return grid, tar[np.searchsorted(far, grid * (1 + 1e-9), side="right") - 1]


def check_labels(genuine: np.ndarray) -> None:
    """Raise :class:`EvaluationError` unless labels are bool, and of both kinds."""
    check_columns(labels=genuine)
    check_flags(labels=genuine)
    if genuine.all() or not genuine.any():
        kind = "impostor" if genuine.all() else "genuine"
        raise EvaluationError(f"labels: there are no {kind} pairs among {len(genuine)}")


def _check_curve(far: np.ndarray, tar: np.ndarray) -> None:
    check_columns(far=far, tar=tar)
    check_rates("far", far)
    check_rates("tar", tar)


def _sorted(scores: np.ndarray) -> np.ndarray:
    """A sorted copy, its halves sorted side by side."""
    middle = len(scores) // 2
    ranked = np.partition(scores, middle)
    with ThreadPoolExecutor() as pool:
        list(pool.map(np.ndarray.sort, np.split(ranked, [middle])))
    return ranked


def _ties(ranked: np.ndarray) -> np.ndarray:
    """Sorted values that occur more than once (some of them repeated)."""
    found = []
    for at in range(0, len(ranked), BLOCK):
        block = ranked[at : at + BLOCK + 1]
        found.append(block[1:][block[1:] == block[:-1]])
    return np.concatenate(found)


def _rows(
    keys: np.ndarray, values: np.ndarray, wanted: np.ndarray, default: np.ndarray
) -> np.ndarray:
    """``values`` of the ascending ``keys`` where they are ``wanted``, elsewhere ``default``."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where((keys[at] == wanted)[:, None], values[at], default)
