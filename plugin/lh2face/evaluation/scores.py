"""Cosines of listed pairs of templates, computed in tiles by matrix products."""

import numpy as np

from lh2face.evaluation.checks import EvaluationError, check_columns, check_finite

PAIRS = 1 << 24
TILE_BITS = 10
TILE = 1 << TILE_BITS
# The product of a whole tile costs as much as 1/SPARSE of its entries computed one by one.
SPARSE = 64


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
    # The first templates of pairs, such as a gallery's, come first: then fewer tiles have pairs.
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
