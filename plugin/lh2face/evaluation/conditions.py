"""TAR at FAR of single faces by how they were photographed: in profile, blurred, aged, occluded."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lh2face.evaluation.bootstrap import tar_draws
from lh2face.evaluation.checks import EvaluationError, check_columns, check_finite, check_least
from lh2face.evaluation.matching import mutual_likelihood
from lh2face.evaluation.protocol import Protocol
from lh2face.evaluation.roc import roc_curve, tar_figures
from lh2face.evaluation.scores import verification_scores

# Pairs of a condition, at most: their number grows with the square of the faces.
MOST = 20_000_000


def pairs_with_reference(
    conditions: np.ndarray, condition: str, most: int = MOST
) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a reference face and a face of a condition, each pair once.

    Args:
        conditions: ``(N,)`` names; that of the first face is the reference.
        condition: One of them.
        most: Where there would be more pairs, only every second, third, … reference face counts.

    Returns:
        Rows of the two faces, ``(P,)`` each.

    Raises:
        EvaluationError: If there is no face, or none of the condition.
    """
    check_columns(conditions=conditions)
    check_least(1, most=most)
    if condition not in conditions:
        raise EvaluationError(f"condition: found {condition!r}, of which there is no face")
    reference, faces = (np.flatnonzero(conditions == name) for name in (conditions[0], condition))
    reference = reference[:: math.ceil(len(reference) * len(faces) / most)]
    first, second = (side.ravel() for side in np.meshgrid(reference, faces, indexing="ij"))
    # The faces are the reference faces themselves, or none of them.
    once = (first < second) | (condition != conditions[0])
    return first[once], second[once]


def tar_by_condition(
    directions: np.ndarray, kappa: np.ndarray, people: np.ndarray, conditions: np.ndarray,
    protocol: Protocol, weights: np.ndarray | None = None,
) -> tuple[dict[str, dict[str, float | None]], dict[str, np.ndarray]]:  # fmt: skip
    """TAR at the protocol's FARs, of reference faces against the faces of each condition.

    The bootstrap draws people: a genuine pair counts as often as its person was drawn, an impostor
    pair as often as the product of its two.

    Args:
        directions: ``(N, d)`` of length 1.
        kappa: ``(N,)``, read where matching is by mutual likelihood.
        people: ``(N,)`` whole numbers 0 … K − 1.
        conditions: As for :func:`pairs_with_reference`; a condition without genuine or without
            impostor pairs is left out.
        protocol: ``far``, ``matching`` and ``vmf_dim`` are read.
        weights: ``(K, R)`` of :func:`lh2face.evaluation.bootstrap.draw_weights`.

    Returns:
        By condition TAR by FAR, None where that is finer than one pair; and the same figures in
        every round ``(R,)``, by "condition.FAR".

    Raises:
        EvaluationError: If shapes do not fit, or a number is not finite.
    """
    check_columns(kappa=kappa, people=people, conditions=conditions)
    check_finite(directions=directions, kappa=kappa)
    if directions.ndim != 2 or len(directions) != len(people):
        raise EvaluationError(f"directions: expected ({len(people)}, d), found {directions.shape}")
    figures: dict[str, Any] = {}
    draws: dict[str, np.ndarray] = {}
    for condition in dict.fromkeys(conditions.tolist()):
        first, second = pairs_with_reference(conditions, condition)
        genuine = people[first] == people[second]
        impostors = int((~genuine).sum())
        if not 0 < impostors < len(genuine):
            continue
        scores = verification_scores(directions, np.arange(len(people)), first, second)
        if protocol.matching == "mutual_likelihood":
            scores = mutual_likelihood(scores, kappa[first], kappa[second], protocol.vmf_dim)
        figures[condition] = tar_figures(*roc_curve(scores, genuine), protocol.far, impostors)
        fars = [far for far in protocol.far if far * impostors >= 1]
        if weights is not None and fars:
            found = _draws(scores, genuine, people[first], people[second], fars, weights)
            draws |= {f"{condition}.{far:g}": tar for far, tar in zip(fars, found, strict=True)}
    return figures, draws


def _draws(
    scores: np.ndarray, genuine: np.ndarray, first: np.ndarray, second: np.ndarray,
    fars: Sequence[float], weights: np.ndarray,
) -> np.ndarray:  # fmt: skip
    # The second of a genuine pair is the first again, which is to count once, not squared.
    once = np.ones((1, weights.shape[1]), weights.dtype)
    second = np.where(genuine, len(weights), second)
    return tar_draws(scores, genuine, first, second, fars, np.r_[weights, once])
