"""The main face of a photo, as a detector finds it."""

from typing import NamedTuple

import numpy as np

from lh2face.data.images import ImageError
from lh2face.detection import Detector, Face, main_face
from lh2face.detection.faces import DetectorError


class Found(NamedTuple):
    """The main face of a photo, and the number of faces found in it."""

    face: Face
    faces: int


def find_face(detect: Detector, image: np.ndarray, source: object) -> Found:
    """Detect the faces in a photo and return the :func:`~lh2face.detection.main_face`.

    Args:
        detect: The detector.
        image: ``(H, W, 3)`` uint8 RGB.
        source: Where the photo comes from, for the message.

    Raises:
        ImageError: If the detector finds no face, or raises :class:`DetectorError`.
    """
    try:
        faces = detect(image)
    except DetectorError as error:
        raise ImageError(source, f"the detector fails on it ({error})") from None
    if not faces:
        raise ImageError(source, "the detector finds no face")
    return Found(main_face(faces, *image.shape[:2]), len(faces))
