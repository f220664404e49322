"""A detector that is told in the photo what to find."""

import numpy as np
import pytest

from lh2face.data.align import TEMPLATE
from lh2face.detection import OPENERS, Face


def see(image):
    """As many faces as the photo's first pixel says, the first of them the most central."""
    height, width = image.shape[:2]
    points = TEMPLATE * (width / 2 / 112) + (width / 4, height / 4)
    box = np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4])
    return [Face(box + 9 * i, np.float32(points + 9 * i), 0.9) for i in range(image[0, 0, 0])]


@pytest.fixture
def told(monkeypatch):
    """Puts it in the place of MTCNN."""
    monkeypatch.setitem(OPENERS, "mtcnn", lambda smallest=0: see)
    return see
