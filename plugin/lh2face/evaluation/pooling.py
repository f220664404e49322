"""Pooling of faces into templates: the mean within each medium, summed over the media."""

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from lh2face.evaluation.checks import EvaluationError, check_columns, check_finite
from lh2face.evaluation.features import FACES, FaceFeatures, float32_at_least, unit_rows


def pool_templates(
    features: np.ndarray | FaceFeatures, template_ids: np.ndarray, media_ids: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Pool templates by :func:`pool_media`, and normalise them.

    Returns:
        Templates ``(T, d)``, float64 unit vectors, and their ids ``(T,)``, ascending.
    """
    sums, ids = pool_media(features, template_ids, media_ids, weights)
    return unit_rows(sums), ids


def pool_media(
    features: np.ndarray | FaceFeatures, template_ids: np.ndarray, media_ids: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Pool faces into templates: average within each medium, then sum over the template's media.

    float32 features are summed in float32, as in insightface. The work is done in blocks of
    templates.

    Args:
        features: ``(N, d)`` array, which may be memory-mapped, or :class:`FaceFeatures`.
        template_ids: ``(N,)`` int.
        media_ids: ``(N,)`` int.
        weights: ``(N,)`` weights ≥ 0 of the mean within a medium, such as κ; ``None`` for a plain
            mean.

    Returns:
        Templates ``(T, d)`` float64, not normalised, and their ids ``(T,)``, ascending.

    Raises:
        EvaluationError: If shapes do not fit, a feature is not finite, or a weight is not finite
            or below 0.
    """
    if weights is not None:
        check_columns(weights=weights, template_ids=template_ids)
        check_finite(weights=weights)
        if weights.min() < 0:
            raise EvaluationError(f"weights: expected at least 0, found {weights.min()}")
    if not len(features) == len(template_ids) == len(media_ids) > 0:
        raise EvaluationError(
            f"features: {len(features)} rows for {len(template_ids)} images"
            f" and {len(media_ids)} media"
        )
    order = np.lexsort((media_ids, template_ids))
    template_ids, media_ids = template_ids[order], media_ids[order]
    new_template = np.r_[True, template_ids[1:] != template_ids[:-1]]
    new_media = new_template | np.r_[True, media_ids[1:] != media_ids[:-1]]
    firsts = np.flatnonzero(new_template)
    ends = np.r_[firsts[1:], len(order)]
    shape = features[order[:1]].shape
    if len(shape) != 2:
        raise EvaluationError(f"features: expected (N, d), found {(len(features), *shape[1:])}")
    sums = np.empty((len(firsts), shape[1]))
    start = 0
    while start < len(firsts):
        # A block has whole templates, with about FACES faces in total.
        stop = max(start + 1, int(np.searchsorted(ends, firsts[start] + FACES, side="right")))
        faces = slice(firsts[start], ends[stop - 1])
        block = float32_at_least(np.asarray(features[order[faces]]))
        media = np.flatnonzero(new_media[faces])
        if weights is None:
            counts = np.diff(np.r_[media, len(block)]).astype(block.dtype)[:, None]
        else:
            share = weights[order[faces], None].astype(block.dtype)
            block, counts = block * share, group_sums(share, media)
            counts[counts == 0] = 1
        means = group_sums(block, media) / counts
        pooled = group_sums(means, np.flatnonzero(new_template[faces][media]))
        if not np.isfinite(pooled).all():
            bad = order[faces][~np.isfinite(block).all(axis=1)]
            raise EvaluationError(
                f"features: row {bad.min()} is not finite"
                if bad.size
                else f"features: the sum of template {template_ids[faces.start]} overflows"
            )
        sums[start:stop] = pooled
        start = stop
    return sums, template_ids[firsts]


def group_sums(rows: np.ndarray, starts: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
    """Sum groups of rows, each in order and in the type of the rows.

    Args:
        rows: ``(N, d)``.
        starts: ``(G,)`` where each group begins, ascending from 0.
        order: ``(n,)`` rows to use instead of 0 … N − 1.

    Returns:
        ``(G, d)`` sums.
    """
    chosen = torch.arange(len(rows)) if order is None else torch.from_numpy(order)
    sums: np.ndarray = embedding_bag(
        chosen, torch.from_numpy(rows), torch.from_numpy(starts), mode="sum"
    ).numpy()
    return sums
