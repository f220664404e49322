"""Lists of templates as IJB has them, for faces of this project: pairs, galleries, probes."""

import numpy as np

from lh2face.data.ijb_meta import IJBMeta, Templates

# Impostor pairs of templates, at most, for each template; with fewer templates there are all pairs.
IMPOSTORS = 1000


def benchmark_meta(
    names: list[str], landmarks: np.ndarray, score: np.ndarray, template_ids: np.ndarray,
    media_ids: np.ndarray, *, subjects: np.ndarray, rng: np.random.Generator,
) -> IJBMeta:  # fmt: skip
    """Meta files of a benchmark: pairs of templates, first templates as galleries G1 and G2.

    ``subjects`` gives the people 0, 1, … of templates 1 … T, ascending; G1 holds the first half.
    """
    templates = np.arange(1, len(subjects) + 1)
    first, second = template_pairs(subjects, rng)
    is_gallery = np.r_[True, subjects[1:] != subjects[:-1]]
    half = (subjects[-1] + 1) // 2
    halves = {"G1": subjects < half, "G2": subjects >= half}
    return IJBMeta(
        names=names,
        landmarks=landmarks,
        detector_score=score,
        template_ids=template_ids,
        media_ids=media_ids,
        first=templates[first],
        second=templates[second],
        genuine=subjects[first] == subjects[second],
        galleries={
            name: Templates(templates[is_gallery & half], subjects[is_gallery & half])
            for name, half in halves.items()
        },
        probes=Templates(templates[~is_gallery], subjects[~is_gallery]),
    )


def template_pairs(subjects: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of templates to compare, each once: all, or all genuine ones and some impostors.

    Above ``2 · IMPOSTORS + 1`` templates the impostors are drawn, so that their number grows with
    that of the templates and not with its square; every template is in about as many.

    Args:
        subjects: ``(T,)`` the person of each template, ascending.
        rng: Draws the impostors.

    Returns:
        Two ``(P,)`` int64 arrays of indices into ``subjects``, the first below the second,
        ascending.
    """
    count = len(subjects)
    if count <= 2 * IMPOSTORS + 1:
        return np.triu_indices(count, 1)
    starts = np.flatnonzero(np.r_[True, subjects[1:] != subjects[:-1]])
    sizes = np.diff(np.r_[starts, count])
    pairs = [start + np.triu_indices(size, 1) for start, size in zip(starts, sizes, strict=True)]
    # On a circle in random order, two templates are at one distance only, so no pair comes twice.
    circle = rng.permutation(count)
    for distance in rng.choice(np.arange(1, (count + 1) // 2), IMPOSTORS, replace=False):
        pair = np.sort([circle, np.roll(circle, distance)], axis=0)
        pairs.append(pair[:, subjects[pair[0]] != subjects[pair[1]]])
    first, second = np.concatenate(pairs, axis=1)
    order = np.lexsort([second, first])
    return first[order], second[order]
