"""The figures of runs, and of every round of a bootstrap over the people of ``cfp``.

Each round draws the same people for all runs, so that differences between runs are paired. A person
who is drawn k times has weight k. The weight of a pair of two people is the product of their
weights.
"""

from collections.abc import Sequence

import numpy as np

from lh2face.embedding.embedders import directions
from lh2face.evaluation.bootstrap import draw_weights
from lh2face.evaluation.comparison import Run as Figures
from lh2face.evaluation.protocol import concentrations
from lh2face.evaluation.quality import error_versus_reject, reject_areas
from lh2face.evaluation.verification import fold_decisions
from workflow.study.real.faces import Faces, Pairs, parts_of

# Number of groups of people, of two official folds each. People are compared within their group.
GROUPS = 4
FARS = (1e-2, 1e-3)
ROUNDS, SEED = 200, 0
# Number of thresholds at which rates are computed.
LEVELS = 500
TITLES = {
    "fp.accuracy": "FP accuracy",
    "ff.accuracy": "FF accuracy",
    "fp.tar.0.01": "FP TAR at FAR 1e-2",
    "fp.tar.0.001": "FP TAR at FAR 1e-3",
    "fp.eer": "FP equal error rate",
    "fp.far": "FP FAR at the accuracy's threshold",
    "fp.reject_area": "FP reject-curve area at a constant FAR",
    "ff.reject_area": "FF reject-curve area at a constant FAR",
    "kappa.frontal": "κ of frontal faces",
    "kappa.profile": "κ of profiles",
}
LESS_IS_BETTER = {"fp.eer", "fp.reject_area", "ff.reject_area"}
# For these figures, neither more nor less is better.
NEUTRAL = {"fp.far", "kappa.frontal", "kappa.profile"}


def tuning_tar(faces: Faces, embeddings: np.ndarray, far: float) -> float:
    """Compute the TAR over all pairs of the faces.

    Args:
        faces: N faces.
        embeddings: ``(N, 2, d)`` embeddings of each face and of its mirror image.
        far: The false accept rate, in (0, 1).
    """
    found = directions(embeddings, faces.paths)
    first, second = np.triu_indices(len(found), 1)
    same = faces.names[first] == faces.names[second]
    scores = (found @ found.T)[first, second]
    impostors = np.sort(scores[~same])
    return float((scores[same] > impostors[-1 - int(far * len(impostors))]).mean())


def figures_of(
    faces: Faces, embeddings: np.ndarray, folds: np.ndarray, frontal: Pairs, profile: Pairs
) -> dict[str, np.ndarray]:
    """Compute the figures of one run.

    Args:
        faces: The N faces of ``cfp``.
        embeddings: ``(N, 2, d)`` embeddings of each face and of its mirror image, by a model that
            was not trained on the person.
        folds: ``(N,)`` official fold of each person.
        frontal: Official frontal–frontal pairs.
        profile: Official frontal–profile pairs.

    Returns:
        By the names in :data:`TITLES`, ``(1 + ROUNDS,)``: the figure, and its value in each round.
    """
    found, kappa = directions(embeddings, faces.paths), concentrations(embeddings)
    people, who = np.unique(faces.names, return_inverse=True)
    weights = draw_weights(len(people), rounds=ROUNDS, seed=SEED)
    weights = np.hstack([np.ones((len(people), 1), np.float32), weights])
    accepted, rejected = right_shares(found, who, profile, weights)
    draws = {
        "fp.accuracy": (accepted + rejected) / 2,
        "fp.far": 1 - rejected,
        "ff.accuracy": right_shares(found, who, frontal, weights).mean(axis=0),
        **_crossed(faces, found, who, folds, weights),
    }
    for kind, rows in (("frontal", ~faces.profile), ("profile", faces.profile)):
        times = weights[who[rows]]
        draws[f"kappa.{kind}"] = (times * kappa[rows, None]).sum(0) / times.sum(0)
    draws["fp.reject_area"] = reject_draws(found, kappa, who, profile, weights)
    draws["ff.reject_area"] = reject_draws(found, kappa, who, frontal, weights)
    return {name: draws[name] for name in TITLES}


def right_shares(
    found: np.ndarray, who: np.ndarray, pairs: Pairs, weights: np.ndarray
) -> np.ndarray:
    """Compute how many pairs are decided rightly; each fold uses the best threshold of the others.

    Args:
        found: ``(N, d)`` unit vectors.
        who: ``(N,)`` person of each face.
        pairs: An official list.
        weights: ``(people, R)`` weight of each person in each round.

    Returns:
        ``(2, R)`` shares of the genuine and of the impostor pairs, in each round. Their mean is the
        balanced accuracy.
    """
    scores = (found[pairs.first] * found[pairs.second]).sum(1)
    right = fold_decisions(scores, pairs.same, fold=pairs.fold)
    times = pair_weights(who[pairs.first], who[pairs.second], pairs.same, weights)
    shares = [
        (times[kind] * right[kind, None]).sum(0) / times[kind].sum(0)
        for kind in (pairs.same, ~pairs.same)
    ]
    return np.stack(shares)


def pair_weights(
    first: np.ndarray, second: np.ndarray, same: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Compute the weights ``(P, R)`` of pairs.

    A genuine pair has the weight of its person, an impostor pair the product of both weights.
    """
    return weights[first] * np.where(same[:, None], 1, weights[second])


def _crossed(
    faces: Faces, found: np.ndarray, who: np.ndarray, folds: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute TAR and equal error rate over all frontal–profile pairs, as means over the groups.

    Pairs are made within each group of people, and each group has its own threshold.
    """
    group = parts_of(folds, GROUPS)
    parts = []
    for number in np.unique(group):
        rows = [
            np.flatnonzero((group == number) & (faces.profile == kind)) for kind in (False, True)
        ]
        scores = (found[rows[0]] @ found[rows[1]].T).ravel()
        people, places = np.unique(who[group == number], return_inverse=True)
        place = np.zeros(len(who), int)
        place[group == number] = places
        first, second = (
            side.ravel() for side in np.meshgrid(place[rows[0]], place[rows[1]], indexing="ij")
        )
        parts.append(error_rates(scores, first == second, first, second, weights[people], FARS))
    draws = {"fp.eer": np.mean([part["eer"] for part in parts], axis=0)}
    for at, far in enumerate(FARS):
        draws[f"fp.tar.{far:g}"] = np.mean([part["tar"][at] for part in parts], axis=0)
    return draws


def error_rates(
    scores: np.ndarray, same: np.ndarray, first: np.ndarray, second: np.ndarray,
    weights: np.ndarray, fars: Sequence[float],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Compute the TAR at several FARs, and the equal error rate, in each round.

    Both rates are computed at :data:`LEVELS` thresholds, and interpolated linearly between them.
    The shares of impostor pairs above the thresholds are equally spaced on a logarithmic scale.

    Args:
        scores: ``(P,)`` scores of pairs.
        same: ``(P,)`` bool, whether a pair shows one person.
        first: ``(P,)`` row of ``weights`` of the first person.
        second: ``(P,)`` row of ``weights`` of the second person.
        weights: ``(people, R)`` weight of each person in each round.
        fars: F false accept rates.

    Returns:
        ``tar (F, R)`` and ``eer (R,)``, in [0, 1].
    """
    people = len(weights)
    shares = np.geomspace(min(fars) / 10, 1, LEVELS)
    thresholds = np.unique(np.quantile(scores[~same], 1 - shares))
    # Count the thresholds below each score, then the scores above each threshold.
    steps, levels = np.searchsorted(thresholds, scores), len(thresholds) + 1
    cells = (first * people + second) * levels + steps
    pairs = np.bincount(cells[~same], minlength=people**2 * levels).reshape(-1, levels)
    own = np.bincount((first * levels + steps)[same], minlength=people * levels)
    passed, kept = (
        counts.reshape(-1, levels)[:, ::-1].cumsum(1, dtype=np.float32) for counts in (pairs, own)
    )
    # (levels, people, people) @ (people, R), and then the sum over the first person.
    partners = passed.T.reshape(levels, people, people) @ weights
    false = np.einsum("lpr,pr->lr", partners, weights).astype(np.float64)
    true = kept.T.astype(np.float64) @ weights
    false, true = false / false[-1], true / true[-1]
    rounds = range(weights.shape[1])
    tar = [[np.interp(far, false[:, r], true[:, r]) for r in rounds] for far in fars]
    # At this threshold, the share of impostor pairs that pass is that of genuine pairs that fail.
    eer = [np.interp(0, false[:, r] + true[:, r] - 1, false[:, r]) for r in rounds]
    return {"tar": np.array(tar), "eer": np.array(eer)}


def reject_draws(
    found: np.ndarray, kappa: np.ndarray, who: np.ndarray, pairs: Pairs, weights: np.ndarray
) -> np.ndarray:
    """Compute the area ``(R,)`` under the reject curve at a constant FAR, in each round.

    It is NaN in rounds without genuine or without impostor pairs. The arguments are those of
    :func:`right_shares`, and ``kappa (N,)``.
    """
    scores = (found[pairs.first] * found[pairs.second]).sum(1)
    quality = np.minimum(kappa[pairs.first], kappa[pairs.second])
    times = pair_weights(who[pairs.first], who[pairs.second], pairs.same, weights)

    def area(counts: np.ndarray) -> float:
        rows = np.repeat(np.arange(len(scores)), counts)
        same = pairs.same[rows]
        if same.all() or not same.any():  # possible if a round draws few different people
            return np.nan
        return reject_areas(error_versus_reject(scores[rows], same, quality[rows]))["area_at_far"]

    return np.array(list(map(area, times.T.astype(int))))


def joined_runs(runs: list[dict[str, np.ndarray]]) -> Figures:
    """Join runs of several seeds for :func:`lh2face.evaluation.comparison.compare`."""
    return Figures(
        {name: np.array([one[name][0] for one in runs]) for name in TITLES},
        {name: np.stack([one[name][1:] for one in runs]) for name in TITLES},
    )
