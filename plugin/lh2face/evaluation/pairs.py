"""Pairs of single faces as a model sees them: decisions, figures, thresholds and the bootstrap."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lh2face.data.benchmark import PairList
from lh2face.evaluation.bootstrap import draw_weights
from lh2face.evaluation.protocol import Protocol
from lh2face.evaluation.quality import error_versus_reject, reject_area
from lh2face.evaluation.roc import roc_curve, tar_figures, threshold_at_far
from lh2face.evaluation.verification import (
    best_threshold,
    fold_accuracy,
    fold_decisions,
    grid_threshold,
)

BIN_FARS = [1e-1, 1e-2, 1e-3, 1e-4]
# How the threshold of a fold is chosen, by the protocol's ``figures``.
RULES = {"definition": best_threshold, "insightface": grid_threshold}
# A threshold that fewer false accepts than this decide is left out: it would be luck.
LEAST_ACCEPTS = 10


@dataclass(frozen=True)
class Pairs:
    """Pairs of faces, as a model sees them.

    Attributes:
        scores: Cosines ``(n,)``.
        same: Whether a pair shows one person ``(n,)``.
        kappa: κ of the two images ``(n, 2)``.
        right: Whether the threshold of the other folds decides a pair rightly ``(n,)``.
        fold: ``(n,)``; ``None`` where ten consecutive parts are the folds.
    """

    scores: np.ndarray
    same: np.ndarray
    kappa: np.ndarray
    right: np.ndarray
    fold: np.ndarray | None = None

    @property
    def half(self) -> np.ndarray:
        """Whether a pair is of the second half, ``(n,)`` bool: every other fold, if there are."""
        if self.fold is None:
            return np.arange(len(self.same)) >= len(self.same) / 2
        odd: np.ndarray = np.unique(self.fold, return_inverse=True)[1] % 2 == 1
        return odd


def decided(found: np.ndarray, kappa: np.ndarray, listed: PairList, protocol: Protocol) -> Pairs:
    """The cosines and κ of a list of pairs, and the decisions."""
    scores = (found[listed.first] * found[listed.second]).sum(axis=1)
    return Pairs(
        scores=scores,
        same=listed.same,
        kappa=np.stack([kappa[listed.first], kappa[listed.second]], axis=1),
        right=fold_decisions(scores, listed.same, RULES[protocol.figures], listed.fold),
        fold=listed.fold,
    )


def bin_metrics(pairs: Pairs) -> dict[str, Any]:
    """Ten-fold accuracy and TAR of a verification bin."""
    accuracy, spread = fold_accuracy(pairs.right, pairs.fold)
    tar = tar_figures(*roc_curve(pairs.scores, pairs.same), BIN_FARS, int((~pairs.same).sum()))
    return {"accuracy": accuracy, "accuracy_std": spread, "tar": tar}


def accuracy_draws(pairs: Pairs, protocol: Protocol) -> np.ndarray:
    """Accuracy of a verification bin in every round of a bootstrap over its pairs ``(R,)``."""
    weights = draw_weights(len(pairs.same), rounds=protocol.bootstrap, seed=protocol.seed)
    accuracy: np.ndarray = pairs.right @ weights / len(pairs.right)
    return accuracy


def thresholds(impostors: np.ndarray) -> dict[str, Any]:
    """The score above which two single photos pass for one person, by FAR, from impostor pairs."""
    fars = [far for far in BIN_FARS if far * len(impostors) >= LEAST_ACCEPTS]
    return {
        "impostor": len(impostors),
        "threshold": {f"{far:g}": threshold_at_far(impostors, far) for far in fars},
    }


def genuine(pairs: list[Pairs]) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(n,)`` and κ ``(n, 2)`` of the genuine pairs of all bins."""
    scores = np.concatenate([part.scores[part.same] for part in pairs])
    return scores, np.concatenate([part.kappa[part.same] for part in pairs])


def reject_draws(scores: np.ndarray, kappa: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Area under the reject curve in every round of a bootstrap over the genuine pairs ``(R,)``."""
    weights = draw_weights(len(scores), rounds=protocol.bootstrap, seed=protocol.seed)
    rows = (np.repeat(np.arange(len(scores)), times) for times in weights.T.astype(int))
    return np.array([reject_area(*error_versus_reject(scores[r], kappa[r].min(1))) for r in rows])
