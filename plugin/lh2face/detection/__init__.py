"""Where the faces in a photo are: box, five landmarks and score of each.

A detector is a function from a photo to its faces, which several threads may call. ``OPENERS`` has
what opens each, by name; another one is a file here, a line there, and its parameters in
:mod:`lh2face.data.detectors`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lh2face.detection.faces import SMALLEST, Detector, Face
from lh2face.detection.insightface import open_insightface
from lh2face.detection.mtcnn import open_mtcnn

# A face is a large one if its box has at least this share of the largest one's side.
LARGE = 0.5
OPENERS: dict[str, Callable[..., Detector]] = {
    "mtcnn": open_mtcnn,
    "insightface": open_insightface,
}

__all__ = [
    "LARGE", "OPENERS", "SMALLEST", "Detector", "Face", "main_face", "open_named",
]  # fmt: skip


def open_named(name: str) -> Detector:
    """The detector that a command line names: ``mtcnn``, or an ONNX file of insightface.

    Raises:
        ValueError: If it is neither, or what the detector needs is not installed.
    """
    if name == "mtcnn":
        return OPENERS[name]()
    if not Path(name).is_file():
        raise ValueError(f"--detector: expected mtcnn, or an ONNX file, found {name:.200}")
    return open_insightface(Path(name))


def main_face(faces: Sequence[Face], height: int, width: int) -> Face:
    """The most central of the large faces.

    Large are faces whose box has a side (the root of its area) of at least ``LARGE`` of the largest
    one's; the most central is the one whose box's centre is closest to the photo's.

    Args:
        faces: One or more.
        height: Of the photo, px.
        width: Of the photo, px.
    """
    boxes = np.array([face.box for face in faces], np.float64)
    sides = np.array([face.side for face in faces])
    distance = np.hypot(*((boxes[:, :2] + boxes[:, 2:] - (width, height)) / 2).T)
    return faces[int(np.where(sides >= LARGE * sides.max(), distance, np.inf).argmin())]
