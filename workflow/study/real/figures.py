"""Figures of the runs, and what they are in the rounds of a bootstrap over the people of ``cfp``.

Every round draws people, the same for all runs, so that differences of runs are paired. A person
drawn k times counts k times: in a pair of two people as often as the product of both.
"""

from collections.abc import Sequence

import numpy as np

from lh2face.embedding.embedders import directions
from lh2face.evaluation.bootstrap import draw_weights
from lh2face.evaluation.comparison import Run as Figures
from lh2face.evaluation.protocol import concentrations
from lh2face.evaluation.quality import error_versus_reject, reject_area
from lh2face.evaluation.verification import fold_decisions
from workflow.study.real.faces import Faces, Pairs, parts_of

# People are compared with all others of their group, two official folds each.
GROUPS = 4
FARS = (1e-2, 1e-3)
ROUNDS, SEED = 200, 0
TITLES = {
    "fp.accuracy": "FP accuracy",
    "ff.accuracy": "FF accuracy",
    "fp.tar.0.01": "FP TAR at FAR 1e-2",
    "fp.tar.0.001": "FP TAR at FAR 1e-3",
    "fp.eer": "FP equal error rate",
    "fp.reject_area": "FP reject-curve area",
    "kappa.frontal": "κ of frontal faces",
    "kappa.profile": "κ of profiles",
}
LESS_IS_BETTER = {"fp.eer", "fp.reject_area"}
# Of these neither more nor less is better.
NEUTRAL = {"kappa.frontal", "kappa.profile"}


def tuning_tar(faces: Faces, embeddings: np.ndarray, far: float) -> float:
    """TAR over all pairs of the faces.

    Args:
        faces: N faces.
        embeddings: ``(N, 2, d)`` of each and of its mirror image.
        far: The false accept rate.
    """
    found = directions(embeddings, faces.paths)
    first, second = np.triu_indices(len(found), 1)
    names = faces.names
    same = names[first] == names[second]
    scores = (found @ found.T)[first, second]
    ones = np.ones((len(faces.paths), 1), np.float32)
    draws = error_rates(scores, same, first, second, ones, [far])
    return float(draws["tar"][0, 0])


def figures_of(
    faces: Faces, embeddings: np.ndarray, folds: np.ndarray, frontal: Pairs, profile: Pairs
) -> dict[str, np.ndarray]:
    """The figures of one run.

    Args:
        faces: The N faces of ``cfp``.
        embeddings: ``(N, 2, d)`` of each and of its mirror image, by a model that has not seen its
            person.
        folds: ``(N,)`` official fold of each person.
        frontal: Official frontal–frontal pairs.
        profile: Official frontal–profile pairs.

    Returns:
        By the names in :data:`TITLES` ``(1 + ROUNDS,)``: the figure, and it in each round.
    """
    found, kappa = directions(embeddings, faces.paths), concentrations(embeddings)
    people, who = np.unique(faces.names, return_inverse=True)
    weights = draw_weights(len(people), rounds=ROUNDS, seed=SEED)
    weights = np.hstack([np.ones((len(people), 1), np.float32), weights])
    draws = {
        "fp.accuracy": accuracy(found, who, profile, weights),
        "ff.accuracy": accuracy(found, who, frontal, weights),
        **_crossed(faces, found, who, folds, weights),
    }
    for kind, rows in (("frontal", ~faces.profile), ("profile", faces.profile)):
        times = weights[who[rows]]
        draws[f"kappa.{kind}"] = (times * kappa[rows, None]).sum(0) / times.sum(0)
    draws["fp.reject_area"] = _reject_area(faces, found, kappa, who, weights)
    return {name: draws[name] for name in TITLES}


def accuracy(found: np.ndarray, who: np.ndarray, pairs: Pairs, weights: np.ndarray) -> np.ndarray:
    """``(R,)`` mean of the shares of genuine and of impostor pairs that are decided rightly, each
    at the threshold that is best on the other folds.

    Args:
        found: ``(N, d)`` unit vectors.
        who: ``(N,)`` person of each face.
        pairs: An official list.
        weights: ``(people, R)``.
    """
    scores = (found[pairs.first] * found[pairs.second]).sum(1)
    right = fold_decisions(scores, pairs.same, fold=pairs.fold)
    times = pair_weights(who[pairs.first], who[pairs.second], pairs.same, weights)
    shares = [
        (times[kind] * right[kind, None]).sum(0) / times[kind].sum(0)
        for kind in (pairs.same, ~pairs.same)
    ]
    return np.mean(shares, axis=0)


def pair_weights(
    first: np.ndarray, second: np.ndarray, same: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """``(P, R)`` how often pairs of people count: the pairs within a person as often as it."""
    return weights[first] * np.where(same[:, None], 1, weights[second])


def _crossed(
    faces: Faces, found: np.ndarray, who: np.ndarray, folds: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """TAR and equal error rate over all frontal–profile pairs of a group, each group with its own
    threshold; the mean of the groups."""
    group = parts_of(folds, GROUPS)
    parts = []
    for number in np.unique(group):
        rows = [
            np.flatnonzero((group == number) & (faces.profile == kind)) for kind in (False, True)
        ]
        scores = (found[rows[0]] @ found[rows[1]].T).ravel()
        first, second = (
            side.ravel() for side in np.meshgrid(who[rows[0]], who[rows[1]], indexing="ij")
        )
        parts.append(error_rates(scores, first == second, first, second, weights, FARS))
    draws = {"fp.eer": np.mean([part["eer"] for part in parts], axis=0)}
    for at, far in enumerate(FARS):
        draws[f"fp.tar.{far:g}"] = np.mean([part["tar"][at] for part in parts], axis=0)
    return draws


def error_rates(
    scores: np.ndarray, same: np.ndarray, first: np.ndarray, second: np.ndarray,
    weights: np.ndarray, fars: Sequence[float],
) -> dict[str, np.ndarray]:  # fmt: skip
    """TAR at FARs, and the equal error rate, in every round.

    A pair passes whose score is above the threshold. That of a FAR is the score of the impostor
    with which the weight of those above would exceed it. The equal error rate is read where the
    shares of impostors that pass and of genuine pairs that fail cross.

    Args:
        scores: ``(P,)``.
        same: ``(P,)`` bool.
        first: ``(P,)`` rows of the weights.
        second: ``(P,)`` likewise.
        weights: ``(people, R)``.
        fars: F rates.

    Returns:
        ``tar (F, R)`` and ``eer (R,)``.
    """
    order = np.argsort(-scores[~same], kind="stable")
    falling = -scores[~same][order]
    a, b = first[~same][order], second[~same][order]
    genuine = np.argsort(-scores[same], kind="stable")
    own, whose = -scores[same][genuine], first[same][genuine]
    # How many impostors lie above each genuine pair.
    above = np.searchsorted(falling, own)
    tar, eer = np.empty((len(fars), weights.shape[1])), np.empty(weights.shape[1])
    for number, times in enumerate(weights.T):
        passed = np.r_[0, np.cumsum(times[a] * times[b], dtype=np.float64)]
        kept = np.r_[0, np.cumsum(times[whose], dtype=np.float64)]
        for at, far in enumerate(fars):
            limit = np.searchsorted(passed, far * passed[-1], "right") - 1
            limit = min(limit, len(falling) - 1)
            tar[at, number] = kept[np.searchsorted(own, falling[limit])] / kept[-1]
        false, missed = passed[above] / passed[-1], 1 - kept[1:] / kept[-1]
        crossing = int(np.argmax(false >= missed))
        eer[number] = (false[crossing] + missed[crossing]) / 2
    return {"tar": tar, "eer": eer}


def _reject_area(
    faces: Faces, found: np.ndarray, kappa: np.ndarray, who: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """``(R,)`` area under the curve of genuine frontal–profile pairs that fail as those of the
    lowest κ are left out."""
    people = []
    for person in range(len(weights)):
        rows = [np.flatnonzero((who == person) & (faces.profile == kind)) for kind in (False, True)]
        scores = (found[rows[0]] @ found[rows[1]].T).ravel()
        people.append((scores, np.minimum.outer(kappa[rows[0]], kappa[rows[1]]).ravel()))
    areas = []
    for times in weights.T.astype(int):
        drawn = [people[person] for person in np.repeat(np.arange(len(times)), times)]
        scores, quality = (np.concatenate(side) for side in zip(*drawn, strict=True))
        areas.append(reject_area(*error_versus_reject(scores, quality)))
    return np.array(areas)


def joined_runs(runs: list[dict[str, np.ndarray]]) -> Figures:
    """The runs of several seeds, as :func:`lh2face.evaluation.comparison.compare` reads them."""
    return Figures(
        {name: np.array([one[name][0] for one in runs]) for name in TITLES},
        {name: np.stack([one[name][1:] for one in runs]) for name in TITLES},
    )
