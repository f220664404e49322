"""Templates and 1:1 scores of IJB-B and IJB-C, as insightface runs the protocol."""

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
# A product of a whole tile costs as much as this share of its entries one by one.
SPARSE = 64


def face_features(
    embeddings: np.ndarray, detector_score: np.ndarray, *, flip: bool, norm: bool, score: bool
) -> np.ndarray:
    """Features of single images.

    Args:
        embeddings: ``(N, V, d)``, of the image and, where V = 2, its mirror image; not normalised.
        detector_score: ``(N,)``.
        flip: Average with the mirror image's embedding: the sum of insightface's, but for a factor
            of exactly 2, so that a length is still a κ.
        norm: Keep the norms (insightface's N1) rather than normalising.
        score: Multiply by the detector score (insightface's D1).

    Returns:
        ``(N, d)`` float32, or float64 where the embeddings are of a wider type.

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
    """Unit sums ``(N, d)`` of the embeddings ``(N, 2, d)`` of faces and their mirror images."""
    sums = faces.sum(axis=1)
    unit: np.ndarray = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
    return unit


def concentrations(embeddings: np.ndarray) -> np.ndarray:
    """κ of each face: the mean norm of the embeddings of the image and of its mirror image.

    Args:
        embeddings: ``(N, V, d)``, V = 1 or 2; may be memory-mapped.

    Returns:
        ``(N,)`` float32, or float64 where the embeddings are of a wider type.

    Raises:
        EvaluationError: If the shape is another, or an embedding's norm is 0 or not finite.
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
    """:func:`face_features` of the rows asked for, so that N of them need never be in memory.

    Attributes:
        embeddings: ``(N, V, d)``, such as a memory-mapped array.
        detector_score: ``(N,)``.
        flip: As in :func:`face_features`, like the rest.
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
    """As :func:`pool_media`, at length 1.

    Returns:
        Templates ``(T, d)`` float64 of length 1, and their ids ``(T,)``, ascending.
    """
    sums, ids = pool_media(features, template_ids, media_ids, weights)
    return _unit(sums), ids


def pool_media(
    features: np.ndarray | FaceFeatures, template_ids: np.ndarray, media_ids: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Mean within (template, media), summed over the media, in blocks of templates.

    Features of float32 are summed in float32, as insightface does.

    Args:
        features: ``(N, d)``, an array, memory-mapped or not, or :class:`FaceFeatures`.
        template_ids: ``(N,)`` int.
        media_ids: ``(N,)`` int.
        weights: ``(N,)`` ≥ 0 for a weighted mean within a medium, such as κ.

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
        # Whole templates, of about FACES faces together.
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
    """Cosine of each pair of templates.

    Pairs are grouped into tiles of TILE × TILE templates, and each tile that has enough of them
    is one matrix product. A pair is scored the same wherever, whichever way round and however
    often it stands in the list, so that pairs that are equal tie, as the ROC needs.

    Memory beyond the arguments and the scores does not grow with P.

    Args:
        templates: ``(T, d)`` of length 1; scores are computed in its type.
        ids: ``(T,)`` ascending.
        first: ``(P,)`` template ids.
        second: ``(P,)`` template ids.

    Returns:
        ``(P,)`` of the type of ``templates``.

    Raises:
        EvaluationError: If a pair names an absent template, there is no pair, shapes do not fit,
            or a template is not finite.
    """
    check_columns(first=first, second=second)
    check_finite(templates=templates)
    if templates.ndim != 2 or len(templates) != len(ids):
        raise EvaluationError(f"templates: expected ({len(ids)}, d), found {templates.shape}")
    blocks = [slice(start, start + PAIRS) for start in range(0, len(first), PAIRS)]
    # Templates that come first in a pair, such as a gallery's, share tiles: then few have pairs.
    leads = np.zeros(len(ids), bool)
    for block in blocks:
        leads[template_rows(ids, first[block])] = True
    arrangement = np.argsort(~leads, kind="stable")
    place = np.empty(len(ids), np.int32)
    place[arrangement] = np.arange(len(ids))
    templates = templates[arrangement]
    side = -(-len(ids) // TILE)

    def tiles_of(block: slice) -> tuple[np.ndarray, np.ndarray]:
        """Tile of each pair, and its entry in the flattened tile."""
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
        # Of 16-bit numbers, a stable sort is a radix sort.
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
    """Rows of template ids in the ascending ``ids``.

    Raises:
        EvaluationError: If ids are not ascending whole numbers, or naming the first that is absent.
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
    """Sums of groups of rows, each added up in order and in the rows' type.

    Args:
        rows: ``(N, d)``.
        starts: ``(G,)`` where the groups begin, ascending from 0.
        order: ``(n,)`` rows to take in place of 0 … N − 1.

    Returns:
        ``(G, d)``.
    """
    chosen = torch.arange(len(rows)) if order is None else torch.from_numpy(order)
    sums: np.ndarray = embedding_bag(
        chosen, torch.from_numpy(rows), torch.from_numpy(starts), mode="sum"
    ).numpy()
    return sums


def _float32_at_least(values: np.ndarray) -> np.ndarray:
    """float16 overflows in norms and sums, and torch reads neither integers nor long doubles."""
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
