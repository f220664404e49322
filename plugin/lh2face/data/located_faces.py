"""The face in a photo: found by a detector, given by a list, or taken to fill the photo."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lh2face.data.align import TEMPLATE, TEMPLATE_SIZE, check_landmarks
from lh2face.data.images import ImageError, decode_rgb, decoded_size, read_file
from lh2face.data.main_face import find_face
from lh2face.detection import Detector
from lh2face.files.outputs import behind_links


class Located(NamedTuple):
    """The face in a photo: its landmarks ``(5, 2)`` float32 in px, the photo's height and width in
    px, and the number of faces found in it."""

    landmarks: np.ndarray
    height: int
    width: int
    faces: int = 1


# A function from a photo's path and content to its face; raises ImageError if there is none.
Locate = Callable[[Path, bytes], Located]


def examine(path: Path, locate: Locate) -> tuple[bytes, Located] | ImageError:
    """Read a photo and locate its face; return its bytes and the face, or the error."""
    try:
        content = read_file(path)
        return content, locate(path, content)
    except ImageError as error:
        return error


def centred(path: Path, content: bytes) -> Located:
    """Assume that the face fills the photo; a ``Locate`` function for :func:`examine`."""
    height, width = decoded_size(content, str(path))
    return Located(centred_landmarks(height, width), height, width)


def listed(points: Mapping[Path, np.ndarray], path: Path, content: bytes) -> Located:
    """Locate the face in a photo by the landmarks of a list; a ``Locate`` function.

    Args:
        points: The landmarks, from :func:`~lh2face.data.landmark_list.read_landmarks`.
        path: Path of the photo.
        content: The encoded photo.

    Raises:
        ImageError: If the photo cannot be decoded, it is not in the list, or its landmarks are not
            plausible.
    """
    size = decoded_size(content, str(path))
    landmarks = points.get(behind_links(path))
    if landmarks is None:
        raise ImageError(path, "it is not in the landmark file")
    return _plausible(path, Located(landmarks, *size))


def detected(detect: Detector, path: Path, content: bytes) -> Located:
    """Locate the face in a photo with a detector; a ``Locate`` function for :func:`examine`.

    Args:
        detect: The detector.
        path: Path of the photo, for messages.
        content: The encoded photo.

    Raises:
        ImageError: If the photo cannot be decoded, no face is found, or its landmarks are not
            plausible.
    """
    image = decode_rgb(content, None, str(path))
    face, faces = find_face(detect, image, path)
    height, width = image.shape[:2]
    return _plausible(path, Located(face.landmarks, height, width, faces))


def _plausible(path: Path, located: Located) -> Located:
    try:
        check_landmarks(located.landmarks, located.height, located.width)
    except ValueError as error:
        raise ImageError(path, str(error)) from None
    return located


@lru_cache
def centred_landmarks(height: int, width: int) -> np.ndarray:
    """Scale the template's points ``(5, 2)`` to the smallest square around an image, in px."""
    side = max(height, width)
    corner = np.array([width - side, height - side], np.float32) / 2
    return (TEMPLATE * (side / TEMPLATE_SIZE) + corner).astype(np.float32)
