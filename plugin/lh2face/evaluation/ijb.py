"""Templates and 1:1 scores of IJB-B and IJB-C, computed as insightface does."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from lh2face.evaluation.checks import EvaluationError as EvaluationError
from lh2face.evaluation.checks import check_columns, check_finite

FACES = 1 << 14
PAIRS = 1 << 24
TILE_BITS = 10
TILE = 1 << TILE_BITS
# The product of a whole tile costs as much as 1/SPARSE of its entries computed one by one.
SPARSE = 64


def face_features(
    embeddings: np.ndarray, detector_score: np.ndarray, *, flip: bool, norm: bool, score: bool
) -> np.ndarray:
    """Compute the features of single images.

    Args:
        embeddings: ``(N, V, d)`` of the image and, where V = 2, of its mirror image; not
            normalised.
        detector_score: ``(N,)`` confidence of the face detector.
        flip: Average with the embedding of the mirror image. insightface sums the two, which is
            exactly twice as long; the average has a norm that is still a κ.
        norm: Keep the norms (insightface's N1) instead of normalising.
        score: Multiply by the detector score (insightface's D1).

    Returns:
        ``(N, d)`` float32, or float64 if the embeddings have a wider type.

    Raises:
        EvaluationError: If shapes do not fit.
    """
    embeddings = _widened(embeddings)
    if len(detector_score) != len(embeddings):
        raise EvaluationError(
            f"detector_score: {len(detector_score)} for {len(embeddings)} embeddings"
        )
    features = embeddings.mean(axis=1) if flip else embeddings[:, 0]
    if not norm:
        features = _unit(features)
    return features * detector_score[:, None] if score else features


def directions(faces: np.ndarray) -> np.ndarray:
    """Add the embeddings ``(N, 2, d)`` of faces and mirror images; normalise to ``(N, d)``."""
    sums = faces.sum(axis=1)
    unit: np.ndarray = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
    return unit


def concentrations(embeddings: np.ndarray) -> np.ndarray:
    """Compute κ of each face: the mean norm of the embeddings of the image and its mirror image.

    Args:
        embeddings: ``(N, V, d)``, V = 1 or 2; may be memory-mapped.

    Returns:
        ``(N,)`` float32, or float64 if the embeddings have a wider type.

    Raises:
        EvaluationError: If the shape does not fit, or the norm of an embedding is 0 or not finite.
    """
    blocks = (_widened(embeddings[at : at + FACES]) for at in range(0, len(embeddings), FACES))
    with np.errstate(over="ignore"):  # an infinite norm is refused below
        norms = [np.linalg.norm(block, axis=2) for block in blocks]
    if not norms:
        raise EvaluationError(f"embeddings: expected at least one face, found {embeddings.shape}")
    found = np.concatenate(norms)
    bad = np.argwhere(~(np.isfinite(found) & (found > 0)))
    if bad.size:
        row, view = bad[0]
        raise EvaluationError(
            f"embeddings: row {row}: expected a finite length above 0, found {found[row, view]}"
        )
    kappa: np.ndarray = found.mean(axis=1)
    return kappa


@dataclass(frozen=True)
class FaceFeatures:
    """Rows of :func:`face_features`, computed when they are indexed to save memory.

    Attributes:
        embeddings: ``(N, V, d)``, such as a memory-mapped array.
        detector_score: ``(N,)`` confidence of the face detector.
        flip: Average with the embedding of the mirror image.
        norm: Keep the norms.
        score: Multiply by the detector score.
    """

    embeddings: np.ndarray
    detector_score: np.ndarray
    flip: bool
    norm: bool
    score: bool

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return face_features(
            self.embeddings[rows], self.detector_score[rows],
            flip=self.flip, norm=self.norm, score=self.score,
        )  # fmt: skip


def pool_templates(
    features: np.ndarray | FaceFeatures, template_ids: np.ndarray, media_ids: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Pool templates by :func:`pool_media`, and normalise them.

    Returns:
        Templates ``(T, d)``, float64 unit vectors, and their ids ``(T,)``, ascending.
    """
    sums, ids = pool_media(features, template_ids, media_ids, weights)
    return _unit(sums), ids


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
        block = _float32_at_least(np.asarray(features[order[faces]]))
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


def verification_scores(
    templates: np.ndarray, ids: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Compute the cosine of each pair of templates.

    Pairs are grouped into tiles of TILE × TILE templates, and each tile with enough pairs is one
    matrix product. The score of a pair does not depend on its place in the list, on the order of
    its templates, or on how often it occurs. So equal pairs tie, as the ROC needs.

    The memory besides the arguments and the scores does not grow with P.

    Args:
        templates: ``(T, d)`` unit vectors; scores are computed in their type.
        ids: ``(T,)`` template ids, ascending.
        first: ``(P,)`` template ids.
        second: ``(P,)`` template ids.

    Returns:
        ``(P,)`` cosines in the type of ``templates``.

    Raises:
        EvaluationError: If a pair names an absent template, there is no pair, shapes do not fit,
            or a template is not finite.
    """
    check_columns(first=first, second=second)
    check_finite(templates=templates)
    if templates.ndim != 2 or len(templates) != len(ids):
        raise EvaluationError(f"templates: expected ({len(ids)}, d), found {templates.shape}")
    blocks = [slice(start, start + PAIRS) for start in range(0, len(first), PAIRS)]
    # First templates of pairs, such as a gallery's, are put together: then fewer tiles have pairs.
    leads = np.zeros(len(ids), bool)
    for block in blocks:
        leads[template_rows(ids, first[block])] = True
    arrangement = np.argsort(~leads, kind="stable")
    place = np.empty(len(ids), np.int32)
    place[arrangement] = np.arange(len(ids))
    templates = templates[arrangement]
    side = -(-len(ids) // TILE)

    def tiles_of(block: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the tile of each pair, and its entry in the flattened tile."""
        a, b = (place[template_rows(ids, end[block])] for end in (first, second))
        row, column = np.minimum(a, b), np.maximum(a, b)
        tile = (row >> TILE_BITS) * side + (column >> TILE_BITS)
        entry = (row & TILE - 1) << TILE_BITS | column & TILE - 1
        return tile.astype(np.min_scalar_type(side * side)), entry

    pairs_in = np.zeros(side * side, np.int64)
    for block in blocks[:-1]:
        pairs_in += np.bincount(tiles_of(block)[0], minlength=side * side)
    scores = np.empty(len(first), templates.dtype)
    for block in reversed(blocks):
        tile, entry = tiles_of(block)
        found = np.bincount(tile, minlength=side * side)
        if block is blocks[-1]:
            pairs_in += found
        # NumPy's stable sort of 16-bit integers is a fast radix sort.
        order = np.argsort(tile, kind="stable")
        entry, ends, part = entry[order], np.cumsum(found), scores[block]
        for at in np.flatnonzero(found):
            pairs = slice(ends[at] - found[at], ends[at])
            rows, columns = (
                templates[corner * TILE : (corner + 1) * TILE] for corner in divmod(at, side)
            )
            score = _tile if pairs_in[at] * SPARSE >= len(rows) * len(columns) else _singly
            part[order[pairs]] = score(rows, columns, entry[pairs])
    return scores


def _tile(rows: np.ndarray, columns: np.ndarray, entry: np.ndarray) -> np.ndarray:
    product = np.empty((len(rows), TILE), rows.dtype)
    np.matmul(rows, columns.T, out=product[:, : len(columns)])
    scores: np.ndarray = product.ravel()[entry]
    return scores


def _singly(rows: np.ndarray, columns: np.ndarray, entry: np.ndarray) -> np.ndarray:
    scores = np.empty(len(entry), rows.dtype)
    for start in range(0, len(entry), TILE):
        row, column = np.divmod(entry[start : start + TILE], TILE)
        scores[start : start + TILE] = np.einsum("ij,ij->i", rows[row], columns[column])
    return scores


def template_rows(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find the rows of template ids in the ascending ``ids``.

    Args:
        ids: ``(T,)`` integers, ascending.
        wanted: ``(n,)`` integers.

    Returns:
        ``(n,)`` rows.

    Raises:
        EvaluationError: If ids are not ascending integers, or a wanted id is absent; the message
            names the first.
    """
    check_columns(ids=ids)
    if ids.dtype.kind not in "iu" or wanted.dtype.kind not in "iu":
        raise EvaluationError(f"ids: expected whole numbers, found {ids.dtype}, {wanted.dtype}")
    if not (ids[1:] > ids[:-1]).all():
        raise EvaluationError("ids: expected each once, ascending")
    low, span = ids[0], int(ids[-1]) - int(ids[0]) + 1
    if span <= max(PAIRS, len(wanted)):
        table = np.zeros(span, np.int32)
        table[ids - low] = np.arange(len(ids))
        rows: np.ndarray = table.take(wanted - low, mode="clip")
    else:
        rows = np.searchsorted(ids, wanted).clip(0, len(ids) - 1)
    absent = np.flatnonzero(ids[rows] != wanted)
    if absent.size:
        raise EvaluationError(f"template {wanted[absent[0]]} has no images")
    return rows


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


def _float32_at_least(values: np.ndarray) -> np.ndarray:
    """Convert float16 and float32 to float32, all other types to float64.

    Norms and sums overflow in float16, and torch reads no long doubles.
    """
    kept = values.dtype in (np.float16, np.float32)
    return values.astype(np.float32 if kept else np.float64, copy=False)


def _widened(embeddings: np.ndarray) -> np.ndarray:
    if embeddings.ndim != 3 or embeddings.shape[1] not in (1, 2) or not embeddings.shape[2]:
        raise EvaluationError(
            f"embeddings: expected (N, 1, d) or (N, 2, d), found {embeddings.shape}"
        )
    return _float32_at_least(embeddings)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = vectors / np.where(norms == 0, 1, norms)
    return unit
