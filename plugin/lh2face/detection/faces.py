"""What a detector is, and what it finds."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Side of the smallest face that is looked for, px: the smaller, the longer it takes.
SMALLEST = 40


class DetectorError(ValueError):
    """A photo that a detector fails on, as one that is too large for it."""


class Face(NamedTuple):
    """A face in a photo.

    Attributes:
        box: ``(4,)`` left, top, right, bottom, px.
        landmarks: ``(5, 2)`` float32 left eye, right eye, nose, left and right mouth corner, px.
        score: In [0, 1].
    """

    box: np.ndarray
    landmarks: np.ndarray
    score: float

    @property
    def side(self) -> float:
        """The root of the box's area, px."""
        return float(np.sqrt(np.prod((self.box[2:] - self.box[:2]).clip(0))))


# From a photo (H, W, 3) uint8 RGB to its faces, in any order.
Detector = Callable[[np.ndarray], list[Face]]
