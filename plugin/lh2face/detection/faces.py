"""The interface of a detector, and the faces that it returns."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Default side of the smallest face to search for in px; a smaller one takes longer.
SMALLEST = 40


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
