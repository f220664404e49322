"""Verification bins by the LFW protocol: 10-fold accuracy."""

import numpy as np

from lh2face.evaluation.ijb import EvaluationError

FOLDS = 10


def ten_fold_accuracy(scores: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """Accuracy at the threshold that is best on the other nine folds.

    Args:
        scores: ``(n,)`` cosines of the pairs, in the order of the bin; folds are consecutive.
        same: ``(n,)`` bool.

    Returns:
        Mean and standard deviation over the folds.

    Raises:
        EvaluationError: If there are fewer than ten pairs.
    """
    if len(scores) < FOLDS:
        raise EvaluationError(f"pairs: ten folds need at least {FOLDS}, found {len(scores)}")
    accuracies = []
    for test in np.array_split(np.arange(len(scores)), FOLDS):
        train = np.setdiff1d(np.arange(len(scores)), test, assume_unique=True)
        threshold = best_threshold(scores[train], same[train])
        accuracies.append(((scores[test] >= threshold) == same[test]).mean())
    return float(np.mean(accuracies)), float(np.std(accuracies))


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """The threshold of the highest accuracy, midway between two scores that differ."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    right = np.cumsum(np.where(same[order], 1, -1))
    last = np.r_[np.flatnonzero(np.diff(ranked)), len(scores) - 1]
    best = last[right[last].argmax()]
    return float(ranked[best : best + 2].mean())
