"""Verification bins by the LFW protocol: 10-fold accuracy."""

import numpy as np

from lh2face.evaluation.ijb import EvaluationError

FOLDS = 10


def ten_fold_decisions(scores: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Which pairs are decided rightly at the threshold that is best on the other nine folds.

    Args:
        scores: ``(n,)`` cosines of the pairs, in the order of the bin; folds are consecutive.
        same: ``(n,)`` bool.

    Returns:
        ``(n,)`` bool.

    Raises:
        EvaluationError: If there are fewer than ten pairs.
    """
    if len(scores) < FOLDS:
        raise EvaluationError(f"pairs: ten folds need at least {FOLDS}, found {len(scores)}")
    right = np.empty(len(scores), bool)
    for test in np.array_split(np.arange(len(scores)), FOLDS):
        train = np.setdiff1d(np.arange(len(scores)), test, assume_unique=True)
        threshold = best_threshold(scores[train], same[train])
        right[test] = (scores[test] >= threshold) == same[test]
    return right


def ten_fold_accuracy(scores: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation over the folds of :func:`ten_fold_decisions`."""
    folds = np.array_split(ten_fold_decisions(scores, same), FOLDS)
    accuracies = [fold.mean() for fold in folds]
    return float(np.mean(accuracies)), float(np.std(accuracies))


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """The threshold of the highest accuracy, midway between two scores that differ."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    right = np.cumsum(np.where(same[order], 1, -1))
    last = np.r_[np.flatnonzero(np.diff(ranked)), len(scores) - 1]
    best = last[right[last].argmax()]
    return float(ranked[best : best + 2].mean())
