"""The interface of a detector, the faces that it returns, and the main one of them."""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple, Protocol

import numpy as np

# Default side of the smallest face to search for in px; a smaller one takes longer.
SMALLEST = 40
# The sides that parameters may ask for; below 20 px MTCNN's first network finds noise. A range
# states the bounds, because a detector must work without pydantic.
Smallest = Annotated[int, range(20, 10_001)]
# A face counts as large if the side of its box is at least this share of the largest side.
LARGE = 0.5


class DetectorError(ValueError):
    """A detector failed on a photo, for example because it is too large."""


class Face(NamedTuple):
    """A face in a photo.

    Attributes:
        box: ``(4,)`` left, top, right, bottom in px.
        landmarks: ``(5, 2)`` float32 x, y of left eye, right eye, nose, left and right mouth corner
            in px.
        score: Confidence in [0, 1].
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float

    @property
    def side(self) -> float:
        """Square root of the box's area, in px."""
        return float(np.sqrt(np.prod((self.box[2:] - self.box[:2]).clip(0))))


# A function from a photo (H, W, 3) uint8 RGB to its faces, in any order.
Detector = Callable[[np.ndarray], list[Face]]


class DetectorType(Protocol):
    """A type of detector: a frozen dataclass, whose fields are the parameters."""

    @property
    def type(self) -> str:
        """The name of the type."""
        ...

    def open(self) -> Detector:
        """Load the detector."""
        ...


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
