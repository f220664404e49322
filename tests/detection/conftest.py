"""A stand-in for MTCNN: the first pixel of a photo says how many faces are found."""

import numpy as np
import pytest

from lh2face.data.align import TEMPLATE
from lh2face.detection import Face, Mtcnn


def see(image):
    """Return as many faces as the photo's first pixel says; the first is the most central."""
    height, width = image.shape[:2]
    points = TEMPLATE * (width / 2 / 112) + (width / 4, height / 4)
    box = np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4])
    return [Face(box + 9 * i, np.float32(points + 9 * i), 0.9) for i in range(image[0, 0, 0])]


@pytest.fixture
def told(monkeypatch):
    """Replaces MTCNN by the stand-in."""
    monkeypatch.setattr(Mtcnn, "open", lambda self: see)
    return see
