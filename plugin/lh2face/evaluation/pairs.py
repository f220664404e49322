"""Evaluation of pairs of single faces: decisions, figures, thresholds and the bootstrap."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lh2face.data.benchmark import PairList
from lh2face.evaluation.bootstrap import draw_weights
from lh2face.evaluation.protocol import Protocol
from lh2face.evaluation.quality import error_versus_reject, reject_areas
from lh2face.evaluation.roc import roc_curve, tar_figures, threshold_at_far
from lh2face.evaluation.verification import (
    best_threshold,
    fold_accuracy,
    fold_decisions,
    grid_threshold,
)

BIN_FARS = [1e-1, 1e-2, 1e-3, 1e-4]
# Rule for the threshold of a fold, by the protocol's ``formulas``.
RULES = {"definition": best_threshold, "insightface": grid_threshold}
# A threshold that rests on fewer false accepts is left out: it would be too uncertain.
LEAST_ACCEPTS = 10


@dataclass(frozen=True)
class Pairs:
    """Scores and decisions of a model for pairs of faces.

    Attributes:
        scores: ``(n,)`` cosines.
        same: ``(n,)`` bool, whether a pair shows one person.
        kappa: ``(n, 2)`` κ of the two faces.
        right: ``(n,)`` bool, whether the threshold of the other folds decides a pair correctly.
        fold: ``(n,)`` fold of each pair; ``None`` if ten consecutive parts are the folds.
    """

    scores: np.ndarray
    same: np.ndarray
    kappa: np.ndarray
    right: np.ndarray
    fold: np.ndarray | None = None

    @property
    def half(self) -> np.ndarray:
        """Whether each pair is in the second half, ``(n,)``; with folds, in every other fold."""
        if self.fold is None:
            return np.arange(len(self.same)) >= len(self.same) / 2
        odd: np.ndarray = np.unique(self.fold, return_inverse=True)[1] % 2 == 1
        return odd


def decide_pairs(
    unit: np.ndarray, kappa: np.ndarray, listed: PairList, protocol: Protocol
) -> Pairs:
    """Compute the cosines, κ and decisions of a list of pairs.

    Args:
        unit: ``(N, d)`` unit vectors of the faces.
        kappa: ``(N,)`` concentrations of the faces.
        listed: The pairs.
        protocol: Gives ``formulas``, which chooses the rule for thresholds.

    Raises:
        EvaluationError: For the reasons of
            :func:`lh2face.evaluation.verification.fold_decisions`.
    """
    scores = (unit[listed.first] * unit[listed.second]).sum(axis=1)
    return Pairs(
        scores=scores,
        same=listed.same,
        kappa=np.stack([kappa[listed.first], kappa[listed.second]], axis=1),
        right=fold_decisions(scores, listed.same, RULES[protocol.formulas], listed.fold),
        fold=listed.fold,
    )


def bin_metrics(pairs: Pairs) -> dict[str, Any]:
    """Compute the mean accuracy over the folds and the TAR of a list of pairs."""
    accuracy, spread = fold_accuracy(pairs.right, pairs.fold)
    tar = tar_figures(*roc_curve(pairs.scores, pairs.same), BIN_FARS, int((~pairs.same).sum()))
    return {"accuracy": accuracy, "accuracy_std": spread, "tar": tar}


def accuracy_draws(pairs: Pairs, protocol: Protocol) -> np.ndarray:
    """Compute the accuracy in every round of a bootstrap over the pairs, ``(R,)``."""
    weights = draw_weights(len(pairs.same), rounds=protocol.bootstrap, seed=protocol.seed)
    accuracy: np.ndarray = pairs.right @ weights / len(pairs.right)
    return accuracy


def thresholds(impostors: np.ndarray) -> dict[str, Any]:
    """Compute the thresholds for two single photos by FAR, from the scores of impostor pairs."""
    fars = [far for far in BIN_FARS if far * len(impostors) >= LEAST_ACCEPTS]
    return {
        "impostor": len(impostors),
        "threshold": {f"{far:g}": threshold_at_far(impostors, far) for far in fars},
    }


def all_pairs(pairs: list[Pairs]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scores ``(n,)``, labels ``(n,)`` and κ ``(n, 2)`` of the pairs of all lists."""
    return (
        np.concatenate([part.scores for part in pairs]),
        np.concatenate([part.same for part in pairs]),
        np.concatenate([part.kappa for part in pairs]),
    )


def reject_draws(
    scores: np.ndarray, same: np.ndarray, quality: np.ndarray, protocol: Protocol
) -> dict[str, np.ndarray]:
    """Compute the areas of both reject curves in every round of a bootstrap over pairs, ``(R,)``.

    Genuine and impostor pairs are drawn separately, so that no round lacks one kind.
    """
    times = np.empty((len(same), protocol.bootstrap), int)
    for kind in (same, ~same):
        times[kind] = draw_weights(kind.sum(), rounds=protocol.bootstrap, seed=protocol.seed)
    drawn = (np.repeat(np.arange(len(same)), counts) for counts in times.T)
    found = [
        reject_areas(error_versus_reject(scores[rows], same[rows], quality[rows])) for rows in drawn
    ]
    return {f"reject.{name}": np.array([one[name] for one in found]) for name in found[0]}
