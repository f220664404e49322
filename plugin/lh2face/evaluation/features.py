"""Features of single faces from their embeddings, as insightface runs the IJB protocol."""

from dataclasses import dataclass

import numpy as np

from lh2face.evaluation.checks import EvaluationError

# Number of faces in memory at a time.
FACES = 1 << 14


def face_features(
    embeddings: np.ndarray, detector_score: np.ndarray, *, flip: bool, norm: bool, score: bool
) -> np.ndarray:
    """Compute the features of single images.

    Args:
        embeddings: ``(N, V, d)`` of the image and, where V = 2, of its mirror image; not
            normalised.
        detector_score: ``(N,)`` confidence of the face detector.
        flip: Average with the embedding of the mirror image. insightface adds the two, and the sum
            is exactly twice as long; but the norm of the average is still a κ.
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
        features = unit_rows(features)
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


def float32_at_least(values: np.ndarray) -> np.ndarray:
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
    return float32_at_least(embeddings)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale rows ``(N, d)`` to length 1; rows of zeros stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = vectors / np.where(norms == 0, 1, norms)
    return unit
