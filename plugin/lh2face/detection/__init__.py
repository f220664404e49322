"""Face detection: box, five landmarks and score of each face in a photo.

A detector is a thread-safe function from a photo to its faces. ``OPENERS`` has the functions that
load those of this folder, by name. To add a detector, write a file in this folder, and in
:mod:`lh2face.data.detectors` a class with its parameters whose ``open`` loads it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lh2face.detection.faces import SMALLEST, Detector, Face
from lh2face.detection.insightface import open_insightface
from lh2face.detection.mtcnn import open_mtcnn

# A face counts as large if the side of its box is at least this share of the largest side.
LARGE = 0.5
OPENERS: dict[str, Callable[..., Detector]] = {
    "mtcnn": open_mtcnn,
    "insightface": open_insightface,
}

__all__ = [
    "LARGE", "OPENERS", "SMALLEST", "Detector", "Face", "main_face", "open_named",
]  # fmt: skip


def open_named(name: str) -> Detector:
    """Load the detector given on a command line: ``mtcnn``, or an ONNX file of insightface.

    Raises:
        ValueError: If it is neither, or a package that it needs is not installed.
    """
    if name == "mtcnn":
        return OPENERS[name]()
    if not Path(name).is_file():
        raise ValueError(f"--detector: expected mtcnn, or an ONNX file, found {name:.200}")
    return open_insightface(Path(name))


def main_face(faces: Sequence[Face], height: int, width: int) -> Face:
    """Select the most central of the large faces.

    A face is large if the side of its box (the square root of the area) is at least ``LARGE`` times
    the largest side. The most central face has the box centre nearest to the photo's centre.

    Args:
        faces: One or more faces.
        height: Height of the photo in px.
        width: Width of the photo in px.
    """
    boxes = np.array([face.box for face in faces], np.float64)
    sides = np.array([face.side for face in faces])
    distance = np.hypot(*((boxes[:, :2] + boxes[:, 2:] - (width, height)) / 2).T)
    return faces[int(np.where(sides >= LARGE * sides.max(), distance, np.inf).argmin())]
