"""``lh2face verify``: whether two photos show the same person."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from lh2face.artifacts.calibration import read_calibration
from lh2face.data.align import TEMPLATE_SIZE, norm_crop
from lh2face.data.image_folder import read_landmarks
from lh2face.data.images import decode_rgb
from lh2face.evaluation.ijb import concentrations
from lh2face.tools.embedders import Embedder, open_embedder

# From a photo (H, W, 3) uint8 RGB to the five landmarks (5, 2) of its main face; None without.
Detector = Callable[[np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class Threshold:
    """A score above which two photos pass for one person.

    Attributes:
        value: The score.
        origin: Where it comes from, in words.
    """

    value: float
    origin: str


def run(
    photos: tuple[Path, Path], model: Path, *, threshold: float | None = None,
    far: float | None = None, landmarks: Path | None = None, detector: Path | None = None,
) -> None:  # fmt: skip
    """Print the score of two photos, the threshold, both κ, and what follows from them.

    Args:
        photos: Aligned crops of 112 × 112 px, or any photos with landmarks or a detector.
        model: A recognition ONNX file, or the folder of a trained model.
        threshold: In place of those kept with the model.
        far: Which of those kept with the model; the lowest by default.
        landmarks: CSV of photo, then x and y of the five landmarks, px.
        detector: A face detection ONNX file of insightface.

    Raises:
        ValueError: If a photo cannot be read or has no face, or the model has no such threshold.
    """
    known = read_calibration(model)
    limit = choose_threshold(known, threshold, far)
    points = {} if landmarks is None else read_landmarks(landmarks, Path())
    detect = None if detector is None else open_detector(detector)
    faces = [aligned_face(photo, points.get(photo.resolve()), detect) for photo in photos]
    score, kappa = compare_faces(open_embedder(model), *faces)
    show(photos, score, kappa, limit, known)


def choose_threshold(
    known: dict[str, Any] | None, threshold: float | None, far: float | None
) -> Threshold | None:
    """The threshold asked for, or that of the lowest FAR that was measured; None without.

    Raises:
        ValueError: If both are asked for, or a FAR that the model has no threshold of.
    """
    if threshold is not None:
        if far is not None:
            raise ValueError("--far: it chooses one of the model's thresholds; leave --threshold")
        return Threshold(threshold, "as given")
    measured = {float(key): value for key, value in (known or {}).get("threshold", {}).items()}
    if far is None:
        far = min(measured, default=None)
    elif far not in measured:
        has = ", ".join(f"{key:g}" for key in measured) or "none"
        raise ValueError(f"--far: found {far:g}, the model has thresholds of {has}")
    if far is None:
        return None
    origin = (
        f"FAR {far:g}, measured on {known['impostor']:,} impostor pairs, source of the faces: "
        f"{known['source']} ({', '.join(known['bins'])})"
    )
    return Threshold(measured[far], origin)


def open_detector(path: Path) -> Detector:
    """A detector of insightface, from a file; nothing is downloaded.

    Raises:
        ValueError: If the file is not a detection model that gives landmarks.
    """
    from insightface import model_zoo

    model = model_zoo.get_model(str(path))
    if getattr(model, "taskname", None) != "detection" or not model.use_kps:
        raise ValueError(f"{path}: not a model of insightface that detects faces and landmarks")
    model.prepare(ctx_id=-1, input_size=(640, 640))

    def detect(image: np.ndarray) -> np.ndarray | None:
        _, points = model.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), max_num=1)
        return points[0] if len(points) else None

    return detect


def aligned_face(
    photo: Path, landmarks: np.ndarray | None = None, detect: Detector | None = None
) -> np.ndarray:
    """The face of a photo, ``(112, 112, 3)`` uint8 RGB.

    Args:
        photo: The file.
        landmarks: ``(5, 2)`` px.
        detect: What finds them where they are not given.

    Raises:
        ValueError: If the file cannot be decoded, shows no face, or is not aligned and neither
            landmarks nor a detector are given.
    """
    image = decode_rgb(photo.read_bytes(), None, str(photo))
    if landmarks is None and detect is not None:
        landmarks = detect(image)
        if landmarks is None:
            raise ValueError(f"{photo}: the detector finds no face")
    if landmarks is not None:
        return norm_crop(image, landmarks)
    if image.shape[:2] != (TEMPLATE_SIZE, TEMPLATE_SIZE):
        height, width = image.shape[:2]
        raise ValueError(
            f"{photo}: {width} × {height} px is no aligned face of {TEMPLATE_SIZE} × "
            f"{TEMPLATE_SIZE}; give --landmarks or --detector"
        )
    return image


def compare_faces(
    embedder: Embedder, first: np.ndarray, second: np.ndarray
) -> tuple[float, np.ndarray]:
    """Cosine of two aligned faces, mirror images included as in the evaluation, and both κ."""
    embeddings = embedder(np.stack([first, second]))
    a, b = embeddings.sum(axis=1)
    score = a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12)
    return float(score), concentrations(embeddings)


def show(
    photos: tuple[Path, Path], score: float, kappa: np.ndarray, limit: Threshold | None,
    known: dict[str, Any] | None,
) -> None:  # fmt: skip
    """Print the verdict."""
    console = Console()
    table = Table.grid(padding=(0, 2))
    table.add_row("score", f"{score:.4f}")
    if limit is None:
        table.add_row("threshold", "none: the model has none; give --threshold, or export it with")
        table.add_row("", "lh2face export-onnx --evaluation FOLDER")
    else:
        table.add_row("threshold", f"{limit.value:.4f}, {limit.origin}")
    for photo, value in zip(photos, kappa, strict=True):
        table.add_row("κ", f"{value:.2f}  {photo}")
    if limit is not None:
        verdict = "the same person" if score > limit.value else "not the same person"
        table.add_row("verdict", f"[bold]{verdict}[/]")
    console.print(table)
    for photo, value in zip(photos, kappa, strict=True):
        if known and value < known["kappa"]["p5"]:
            console.print(
                f"[yellow]warning:[/] {photo}: 95 % of the benchmark's faces have a higher κ "
                f"(from {known['kappa']['p5']:.2f} on): a poor photo, the score may mislead"
            )
