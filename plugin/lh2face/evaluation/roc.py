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
    """Compute the ROC curve: false and true accept rates at every distinct score, from (0, 0) on.

    Points on a straight line between their neighbours are left out. scikit-learn's ``roc_curve``
    does so too, and the nearest-FAR rule of the IJB protocol depends on it.

    Besides the arguments, the memory holds one sorted copy of the scores, and the scores that tie
    or are genuine. All other scores are single impostor pairs, which lie on a straight line.

    Args:
        scores: ``(P,)`` scores of the pairs; a higher score means more alike.
        genuine: ``(P,)`` bool, whether a pair shows one person.

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
    # Groups of equal scores that tie or are genuine: [start, end) in ``ranked``, and their counts.
    start, end = (np.searchsorted(ranked, values, side) for side in ("left", "right"))
    accepts = np.subtract(*(np.searchsorted(own, values, side) for side in ("right", "left")))
    steps = np.stack([end - start - accepts, accepts], axis=1)
    lines = np.array([1, 0])

    # A threshold accepts the scores from ``cut`` on; the curve can only bend beside those groups.
    top = np.searchsorted(ranked, ranked[-1])
    cut = np.unique(np.r_[0, start, end, top])
    cut = cut[cut < len(ranked)]
    above, below = (_rows(edge, steps, cut, lines) for edge in (start, end))
    cut = cut[(above != below).any(axis=1) | (cut == 0) | (cut == top)][::-1]
    accepted = len(own) - np.r_[0, np.cumsum(accepts)][np.searchsorted(start, cut)]
    false = np.r_[0, len(ranked) - cut - accepted]
    return false / false[-1], np.r_[0, accepted] / len(own)


def tar_at_far(scores: np.ndarray, genuine: np.ndarray, fars: Sequence[float]) -> np.ndarray:
    """Compute the true accept rate where the false accept rate is nearest to each of ``fars``.

    Args:
        scores: ``(P,)`` scores of the pairs.
        genuine: ``(P,)`` bool, whether a pair shows one person.
        fars: F false accept rates in [0, 1].

    Returns:
        ``(F,)`` true accept rates.

    Raises:
        EvaluationError: For the reasons of :func:`roc_curve` and :func:`nearest_tar`.
    """
    return nearest_tar(*roc_curve(scores, genuine), fars)


def nearest_tar(far: np.ndarray, tar: np.ndarray, fars: Sequence[float]) -> np.ndarray:
    """Find the TAR at the points of a ROC curve whose FAR is nearest to each of ``fars``.

    Of equally near points, the one with the higher FAR counts, as in insightface's ``eval_ijbc``.

    Args:
        far: ``(K,)`` false accept rates, ascending.
        tar: ``(K,)`` true accept rates.
        fars: F false accept rates in [0, 1].

    Returns:
        ``(F,)`` true accept rates.

    Raises:
        EvaluationError: If shapes do not fit, or a rate is not in [0, 1].
    """
    _check_curve(far, tar)
    check_rates("fars", fars)
    far, tar = far[::-1], tar[::-1]
    return np.array([tar[np.abs(far - wanted).argmin()] for wanted in fars])


def tar_figures(
    far: np.ndarray, tar: np.ndarray, fars: Sequence[float], impostors: int
) -> dict[str, float | None]:
    """Look up TARs by :func:`nearest_tar`, under the FAR as text, such as "0.001".

    Args:
        far: ``(K,)`` false accept rates, ascending.
        tar: ``(K,)`` true accept rates.
        fars: False accept rates in [0, 1].
        impostors: Number of impostor pairs.

    Returns:
        TAR by FAR; None where the FAR is below 1 / ``impostors`` and so cannot be measured.

    Raises:
        EvaluationError: For the reasons of :func:`nearest_tar`, or if there are no impostor pairs.
    """
    check_least(1, impostors=impostors)
    figures = zip(fars, nearest_tar(far, tar, fars).tolist(), strict=True)
    return {f"{far:g}": value if far * impostors >= 1 else None for far, value in figures}


def threshold_at_far(impostor_scores: np.ndarray, far: float) -> float:
    """Find the lowest score above which at most a share ``far`` of the impostor pairs lie.

    Args:
        impostor_scores: ``(n,)`` scores of impostor pairs.
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
    """Compute ``⌊rate · count⌋``, with a tolerance for rounding: 0.29 · 100 is just below 29."""
    return int(rate * count * (1 + 1e-12))


def thinned(far: np.ndarray, tar: np.ndarray, points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Sample a ROC curve for a plot: the best TAR at or below log-spaced false accept rates.

    Args:
        far: ``(K,)`` false accept rates, ascending, as :func:`roc_curve` returns them.
        tar: ``(K,)`` true accept rates.
        points: Number of false accept rates, from the lowest above 0 up to 1.

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
    """Check that labels are bool, and that both genuine and impostor pairs exist.

    Raises:
        EvaluationError: If they are not, with the kind that is missing.
    """
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
    """Return a sorted copy; two threads sort one half each."""
    middle = len(scores) // 2
    ranked = np.partition(scores, middle)
    with ThreadPoolExecutor() as pool:
        list(pool.map(np.ndarray.sort, np.split(ranked, [middle])))
    return ranked


def _ties(ranked: np.ndarray) -> np.ndarray:
    """Return the values that occur more than once, in order; some of them repeatedly."""
    found = []
    for at in range(0, len(ranked), BLOCK):
        block = ranked[at : at + BLOCK + 1]
        found.append(block[1:][block[1:] == block[:-1]])
    return np.concatenate(found)


def _rows(
    keys: np.ndarray, values: np.ndarray, wanted: np.ndarray, default: np.ndarray
) -> np.ndarray:
    """Look up rows of ``values`` by ascending ``keys``; an absent key gives ``default``."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where((keys[at] == wanted)[:, None], values[at], default)
