"""TAR at FAR of single faces, per condition: in profile, blurred, aged, occluded."""

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

# Most pairs of one condition: their number grows with the square of the number of faces.
MOST = 20_000_000


def pairs_with_reference(
    conditions: np.ndarray, condition: str, most: int = MOST
) -> tuple[np.ndarray, np.ndarray]:
    """List every pair of a reference face and a face of a condition, each pair once.

    Args:
        conditions: ``(N,)`` names; the condition of the first face is the reference.
        condition: Name of a condition.
        most: If there are more pairs, only every second, third, … reference face is used.

    Returns:
        Rows of the two faces, ``(P,)`` each.

    Raises:
        EvaluationError: If there is no face, or no face of the condition.
    """
    check_columns(conditions=conditions)
    check_least(1, most=most)
    if condition not in conditions:
        raise EvaluationError(f"condition: found {condition!r}, but no face has it")
    reference, faces = (np.flatnonzero(conditions == name) for name in (conditions[0], condition))
    reference = reference[:: math.ceil(len(reference) * len(faces) / most)]
    first, second = (side.ravel() for side in np.meshgrid(reference, faces, indexing="ij"))
    # If the condition is the reference itself, each pair would occur twice.
    once = (first < second) | (condition != conditions[0])
    return first[once], second[once]


def tar_by_condition(
    directions: np.ndarray, kappa: np.ndarray, people: np.ndarray, conditions: np.ndarray,
    protocol: Protocol, weights: np.ndarray | None = None,
) -> tuple[dict[str, dict[str, float | None]], dict[str, np.ndarray]]:  # fmt: skip
    """Compute the TAR of reference faces against the faces of each condition.

    The bootstrap draws people. A genuine pair has the weight of its person, an impostor pair the
    product of the weights of its two people.

    Args:
        directions: ``(N, d)`` unit vectors.
        kappa: ``(N,)`` concentrations, used only if matching is by mutual likelihood.
        people: ``(N,)`` integer person of each face, 0 … K − 1.
        conditions: ``(N,)`` names; the condition of the first face is the reference. A condition
            without genuine or without impostor pairs is left out.
        protocol: Gives ``far``, ``matching`` and ``vmf_dim``.
        weights: ``(K, R)`` from :func:`lh2face.evaluation.bootstrap.draw_weights`, or ``None`` for
            no bootstrap.

    Returns:
        TAR by condition and FAR, None where the FAR is below one impostor pair; and the same
        figures in every round, ``(R,)`` by "condition.FAR".

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
    # Both faces of a genuine pair show one person, whose weight counts once, not squared.
    once = np.ones((1, weights.shape[1]), weights.dtype)
    second = np.where(genuine, len(weights), second)
    return tar_draws(scores, genuine, first, second, fars, np.r_[weights, once])
