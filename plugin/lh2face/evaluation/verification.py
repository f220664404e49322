"""The LFW protocol for pairs of faces: the accuracy over folds."""

from collections.abc import Callable

import numpy as np

from lh2face.evaluation.checks import EvaluationError, check_columns, check_flags, check_pairs

FOLDS = 10
# Squared distances that arcface_torch's ``eval/verification.py`` tries as thresholds.
GRID = np.arange(0, 4, 0.01)
# Function from the scores (n,) and labels (n,) of all other folds to the threshold of one fold.
Rule = Callable[[np.ndarray, np.ndarray], float]


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Find the threshold with the highest accuracy, midway between two neighbouring scores.

    Args:
        scores: ``(n,)`` scores of the pairs.
        same: ``(n,)`` bool, whether a pair shows one person.

    Returns:
        The threshold; a score at or above it passes. Of equally good thresholds, the highest.

    Raises:
        EvaluationError: If shapes or types do not fit, or a score is not finite.
    """
    check_pairs(scores, same=same)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    right = np.cumsum(np.where(same[order], 1, -1))
    last = np.r_[np.flatnonzero(np.diff(ranked)), len(scores) - 1]
    best = last[right[last].argmax()]
    return float(ranked[best : best + 2].mean())


def grid_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """Find the threshold as insightface's arcface_torch does (``eval/verification.py``).

    It tries the squared distances ``2 − 2 cosθ`` of 0, 0.01, …, 3.99. Pairs that are nearer pass.
    It keeps the first distance with the highest accuracy.

    Args:
        scores: ``(n,)`` cosines.
        same: ``(n,)`` bool, whether a pair shows one person.

    Returns:
        The threshold; a cosine at or above it passes.

    Raises:
        EvaluationError: For the reasons of :func:`best_threshold`.
    """
    check_pairs(scores, same=same)
    distances = 2 - 2 * scores.astype(np.float64)
    near, far = (np.sort(distances[kind]) for kind in (same, ~same))
    right = np.searchsorted(near, GRID) + len(far) - np.searchsorted(far, GRID)
    return float(np.nextafter(1 - GRID[right.argmax()] / 2, np.inf))


def fold_decisions(
    scores: np.ndarray, same: np.ndarray, rule: Rule = best_threshold,
    fold: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Decide the pairs of each fold at the threshold that is best on the other folds.

    Args:
        scores: ``(n,)`` cosines of the pairs, in the order of the list.
        same: ``(n,)`` bool, whether a pair shows one person.
        rule: How the threshold is chosen: :func:`best_threshold` follows the definition,
            :func:`grid_threshold` gives the figures that insightface prints.
        fold: ``(n,)`` integer fold of each pair; with ``None``, ten consecutive parts are the
            folds.

    Returns:
        ``(n,)`` bool, whether a pair is decided correctly.

    Raises:
        EvaluationError: If there is only one fold, ``fold`` is ``None`` and there are fewer than
            ten pairs, shapes or types do not fit, or a score is not finite.
    """
    check_pairs(scores, same=same)
    scores = scores.astype(np.float64)
    right = np.empty(len(scores), bool)
    for test in _folds(len(scores), fold):
        train = np.setdiff1d(np.arange(len(scores)), test, assume_unique=True)
        threshold = rule(scores[train], same[train])
        right[test] = (scores[test] >= threshold) == same[test]
    return right


def fold_accuracy(right: np.ndarray, fold: np.ndarray | None = None) -> tuple[float, float]:
    """Compute the mean and the standard deviation of the accuracies of the folds.

    Args:
        right: ``(n,)`` bool, as :func:`fold_decisions` returns it.
        fold: The same as given to :func:`fold_decisions`.

    Returns:
        Mean and standard deviation, each in [0, 1].

    Raises:
        EvaluationError: For the reasons of :func:`fold_decisions`.
    """
    check_columns(right=right)
    check_flags(right=right)
    accuracies = [right[rows].mean() for rows in _folds(len(right), fold)]
    return float(np.mean(accuracies)), float(np.std(accuracies))


def _folds(pairs: int, fold: np.ndarray | None) -> list[np.ndarray]:
    """Return the rows of each fold."""
    if fold is None:
        if pairs < FOLDS:
            raise EvaluationError(f"pairs: ten folds need at least {FOLDS}, found {pairs}")
        return np.array_split(np.arange(pairs), FOLDS)
    if fold.shape != (pairs,):
        raise EvaluationError(f"fold: expected ({pairs},), found {fold.shape}")
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise EvaluationError(f"fold: expected at least two folds, found {numbers.tolist()}")
    return [np.flatnonzero(fold == number) for number in numbers]
