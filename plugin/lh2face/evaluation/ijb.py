"""Templates and 1:1 scores of IJB-B and IJB-C, as insightface runs the protocol."""

import numpy as np

BLOCK = 1 << 16


class EvaluationError(ValueError):
    """Embeddings or lists that cannot be evaluated; the message names the argument."""


def face_features(
    embeddings: np.ndarray, detector_score: np.ndarray, *, flip: bool, norm: bool, score: bool
) -> np.ndarray:
    """Features of single images.

    Args:
        embeddings: ``(N, 2, d)``, of the image and its mirror image, not normalised.
        detector_score: ``(N,)``.
        flip: Add the mirror image's embedding.
        norm: Keep the norms (insightface's N1) rather than normalising.
        score: Multiply by the detector score (insightface's D1).

    Returns:
        ``(N, d)`` float32.

    Raises:
        EvaluationError: If an embedding is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=(1, 2)))
    if bad.size:
        raise EvaluationError(f"embeddings: row {bad[0]} is not finite")
    features = embeddings.sum(axis=1) if flip else embeddings[:, 0]
    if not norm:
        features = _unit(features)
    return features * detector_score[:, None] if score else features


def pool_templates(
    features: np.ndarray, template_ids: np.ndarray, media_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean within (template, media), sum over the media, length 1.

    Args:
        features: ``(N, d)``.
        template_ids: ``(N,)`` int.
        media_ids: ``(N,)`` int.

    Returns:
        Templates ``(T, d)`` float32 of length 1, and their ids ``(T,)``, ascending.
    """
    order = np.lexsort((media_ids, template_ids))
    keys = np.stack([template_ids, media_ids], axis=1)[order]
    starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    counts = np.diff(np.r_[starts, len(order)])
    media = np.add.reduceat(features[order], starts, axis=0) / counts[:, None]
    owners = keys[starts, 0]
    firsts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
    return _unit(np.add.reduceat(media, firsts, axis=0)).astype(np.float32), owners[firsts]


def verification_scores(
    templates: np.ndarray, ids: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Cosine of each pair of templates, in blocks.

    Args:
        templates: ``(T, d)`` of length 1.
        ids: ``(T,)`` ascending.
        first: ``(P,)`` template ids.
        second: ``(P,)`` template ids.

    Returns:
        ``(P,)`` float32.

    Raises:
        EvaluationError: If a pair names an absent template.
    """
    rows = [template_rows(ids, side) for side in (first, second)]
    scores = np.empty(len(first), np.float32)
    for start in range(0, len(first), BLOCK):
        block = slice(start, start + BLOCK)
        a, b = (templates[side[block]] for side in rows)
        scores[block] = np.einsum("ij,ij->i", a, b)
    return scores


def template_rows(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rows of template ids in the ascending ``ids``.

    Raises:
        EvaluationError: Naming the first id that is absent.
    """
    rows = np.searchsorted(ids, wanted).clip(0, len(ids) - 1)
    absent = np.flatnonzero(ids[rows] != wanted)
    if absent.size:
        raise EvaluationError(f"template {wanted[absent[0]]} has no images")
    return rows


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms == 0, 1, norms)
