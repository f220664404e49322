"""``lh2face verify``: decide whether two photos show the same person."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lh2face.artifacts.thresholds import read_thresholds
from lh2face.data.align import TEMPLATE_SIZE, check_landmarks, norm_crop
from lh2face.data.images import ImageError, decode_rgb, read_file
from lh2face.data.landmark_list import read_landmarks
from lh2face.data.main_face import find_face
from lh2face.detection import Detector, open_named
from lh2face.embedding.embedders import Embedder, directions, open_embedder
from lh2face.evaluation.features import concentrations
from lh2face.evaluation.matching import expected_cosine
from lh2face.text import printable
from lh2face.tools.verdict import Threshold, choose_threshold, warn


def run(
    photos: tuple[Path, Path], model: Path, *, threshold: float | None = None,
    far: float | None = None, landmarks: Path | None = None, detector: str | None = None,
) -> bool:  # fmt: skip
    """Print the score of two photos, the threshold, both κ, the score expected, and the verdict.

    Args:
        photos: Aligned crops of 112 × 112 px, or any photos with landmarks or a detector.
        model: Recognition ONNX file, or the folder of a trained model.
        threshold: Cosine to use instead of the model's own thresholds.
        far: FAR that selects one of the model's thresholds; the lowest by default.
        landmarks: CSV of landmarks, see :func:`face_reader`.
        detector: Name or file of a detector, see :func:`~lh2face.detection.open_named`.

    Returns:
        Whether there is a verdict, see :func:`~lh2face.tools.verdict.choose_threshold`.

    Raises:
        ValueError: If a photo cannot be read or has no face, or the model has no such threshold.
    """
    known = read_thresholds(model)
    limit = choose_threshold(known, threshold, far)
    faces = read_faces(photos, landmarks, detector)
    score, kappa = compare_faces(open_embedder(model), faces, photos)
    show(photos, score, kappa, limit, known)
    return not limit.refusal


def read_faces(
    photos: Sequence[Path], landmarks: Path | None = None, detector: str | None = None
) -> np.ndarray:
    """Read the aligned faces of photos, ``(N, 112, 112, 3)`` uint8 RGB; see :func:`face_reader`."""
    return np.stack(list(map(face_reader(landmarks, detector), photos)))


def face_reader(
    landmarks: Path | None = None, detector: str | None = None
) -> Callable[[Path], np.ndarray]:
    """Make a function that reads the aligned face of a photo.

    Args:
        landmarks: CSV with the path of a photo, then x and y of its five landmarks, in px. It must
            have every photo; paths are compared after following links.
        detector: Name or file of a detector, see :func:`~lh2face.detection.open_named`, instead of
            landmarks.

    Returns:
        A function from the path of a photo to its face, ``(112, 112, 3)`` uint8 RGB. It raises
        :class:`ImageError` if there is no usable face.

    Raises:
        ValueError: If both are given, or one of them cannot be used.
    """
    if landmarks is not None and detector is not None:
        raise ValueError("--detector: found --landmarks too; give one of them")
    if landmarks is None:
        return partial(aligned_face, detect=None if detector is None else open_named(detector))
    points = read_landmarks(landmarks, Path())

    def read(photo: Path) -> np.ndarray:
        # Path.resolve raises RuntimeError for circular links.
        found = points.get(Path(os.path.realpath(photo)))
        if found is None:
            raise ImageError(photo, f"there is no line for it in {landmarks}")
        return aligned_face(photo, found)

    return read


def aligned_face(
    photo: Path, landmarks: np.ndarray | None = None, detect: Detector | None = None
) -> np.ndarray:
    """Read the face of a photo and align it.

    Args:
        photo: The file.
        landmarks: ``(5, 2)`` landmarks, in px.
        detect: Detector to use if there are no landmarks.

    Returns:
        ``(112, 112, 3)`` uint8 RGB.

    Raises:
        ImageError: If the file cannot be read, shows no face, has landmarks that cannot belong to a
            face, or is not aligned and neither landmarks nor a detector are given.
    """
    image = decode_rgb(read_file(photo), None, str(photo))
    height, width = image.shape[:2]
    if landmarks is None and detect is not None:
        face, faces = find_face(detect, image, photo)
        landmarks = face.landmarks
        if faces > 1:
            print(printable(f"{photo}: {faces} faces; the most central of the large ones is used"))
    if landmarks is not None:
        return cropped(image, landmarks, photo)
    if (height, width) != (TEMPLATE_SIZE, TEMPLATE_SIZE):
        raise ImageError(
            photo,
            f"{width} × {height} px is no aligned face of {TEMPLATE_SIZE} × {TEMPLATE_SIZE}; "
            "give --detector mtcnn, or --landmarks FILE",
        )
    return image


def cropped(image: np.ndarray, landmarks: np.ndarray, source: object) -> np.ndarray:
    """Crop the aligned face ``(112, 112, 3)`` from a photo ``(H, W, 3)``, both uint8 RGB.

    Args:
        image: The photo.
        landmarks: ``(5, 2)`` landmarks, in px.
        source: Name of the photo, for the message.

    Raises:
        ImageError: If the landmarks cannot belong to a face.
    """
    try:
        check_landmarks(landmarks, *image.shape[:2])
    except ValueError as error:
        raise ImageError(source, str(error)) from None
    return norm_crop(image, landmarks)


def compare_faces(
    embedder: Embedder, faces: np.ndarray, photos: Sequence[object]
) -> tuple[float, np.ndarray]:
    """Compute the cosine and both κ of two aligned faces, with mirror images as in the evaluation.

    Args:
        embedder: The embedder.
        faces: ``(2, 112, 112, 3)`` uint8 RGB.
        photos: Names of the photos, for messages.

    Returns:
        The cosine in [−1, 1], and κ ``(2,)``.

    Raises:
        ValueError: If an embedding is not finite or zero; the message names the photo.
    """
    embeddings = embedder(faces)
    first, second = directions(embeddings, photos)
    return float(first @ second), concentrations(embeddings)


def show(
    photos: Sequence[Path], score: float, kappa: np.ndarray, limit: Threshold,
    known: dict[str, Any] | None,
) -> None:  # fmt: skip
    """Print the scores, the verdict and the warnings."""
    console = Console()
    table = Table.grid(padding=(0, 2))
    table.add_row("score", f"{score:.4f}")
    table.add_row("threshold", Text(printable(limit)))
    for photo, value in zip(photos, kappa, strict=True):
        table.add_row("κ", Text(printable(f"{value:.2f}  {photo}")))
    if (expected := expected_score(kappa, known)) is not None:
        table.add_row("expected", f"{expected:.4f}, the mean score of one person with these κ")
    table.add_row("verdict", verdict(score, limit))
    console.print(table)
    warn(console, limit.doubts)
    warn_of_low_kappa(console, photos, kappa, known)


def expected_score(kappa: np.ndarray, known: dict[str, Any] | None) -> float | None:
    """Predict the mean cosine of two photos of one person from their κ.

    Args:
        kappa: ``(2,)`` κ of the photos.
        known: Thresholds of the model, if it has any.

    Returns:
        The mean cosine, in [0, 1]; ``None`` if the model's κ was not calibrated.
    """
    fitted = known["kappa"] if known else {}
    if "scale" not in fitted:
        return None
    first, second = fitted["scale"] * kappa.reshape(2, 1)
    return float(expected_cosine(first, second, int(fitted["dim"]))[0])


def verdict(score: float, limit: Threshold) -> Text:
    """Return the verdict for a score, or the reason why there is none."""
    if limit.refusal or limit.value is None:
        return Text(f"none: {printable(limit.refusal)}")
    return Text("the same person" if score > limit.value else "not the same person", "bold")


def warn_of_low_kappa(
    console: Console, photos: Sequence[Path], kappa: np.ndarray, known: dict[str, Any] | None,
    others: str = "the benchmark's faces",
) -> None:  # fmt: skip
    """Print a warning for each photo whose κ is below that of 95 % of the other photos."""
    least = known["kappa"]["p5"] if known else -np.inf
    words = (
        f"its κ is low, 95 % of {others} have at least {least:.2f}; the photo may be poor and its "
        "score misleading"
    )
    low = (photo for photo, value in zip(photos, kappa, strict=True) if value < least)
    warn(console, [f"{photo}: {words}" for photo in low])
