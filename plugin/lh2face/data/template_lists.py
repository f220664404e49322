"""Lists of templates in the manner of IJB, for faces of this project: pairs, galleries, probes."""

import numpy as np

from lh2face.data.ijb_meta import IJBMeta, Templates

# Half of the number of impostor pairs per template in a large benchmark; a small one has all pairs.
IMPOSTORS = 1000


def benchmark_meta(
    names: list[str], landmarks: np.ndarray, score: np.ndarray, template_ids: np.ndarray,
    media_ids: np.ndarray, *, subjects: np.ndarray, rng: np.random.Generator,
) -> IJBMeta:  # fmt: skip
    """Make the lists of a benchmark: pairs of templates, galleries G1 and G2, and probes.

    The first template of a person is in a gallery, G1 for the first half of the people and G2 for
    the second half; all other templates are probes.

    Args:
        names: N names of the faces.
        landmarks: ``(N, 5, 2)`` in px.
        score: ``(N,)`` detector scores.
        template_ids: ``(N,)`` templates of the faces, 1 … T.
        media_ids: ``(N,)`` media of the faces.
        subjects: ``(T,)`` person 0, 1, … of each template, ascending.
        rng: Generator for drawing the impostor pairs.

    Returns:
        The lists.
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
    """Choose the pairs of templates to compare, each once.

    Up to ``2 · IMPOSTORS + 1`` templates these are all pairs. Above, they are all genuine pairs and
    some impostor pairs, about equally many per template. So their number grows linearly with the
    number of templates, not quadratically.

    Args:
        subjects: ``(T,)`` the person of each template, ascending.
        rng: Generator for drawing the impostor pairs.

    Returns:
        Two ``(P,)`` int64 arrays of indices into ``subjects``, in ascending order; the first index
        of a pair is below the second.
    """
    count = len(subjects)
    if count <= 2 * IMPOSTORS + 1:
        return np.triu_indices(count, 1)
    starts = np.flatnonzero(np.r_[True, subjects[1:] != subjects[:-1]])
    sizes = np.diff(np.r_[starts, count])
    pairs = [
        start + np.array(np.triu_indices(size, 1))
        for start, size in zip(starts, sizes, strict=True)
    ]
    # Two templates on a circle have only one distance, so no pair is drawn twice.
    circle = rng.permutation(count)
    for distance in rng.choice(np.arange(1, (count + 1) // 2), IMPOSTORS, replace=False):
        pair = np.sort([circle, np.roll(circle, distance)], axis=0)
        pairs.append(pair[:, subjects[pair[0]] != subjects[pair[1]]])
    first, second = np.concatenate(pairs, axis=1)
    order = np.lexsort([second, first])
    return first[order], second[order]
