"""Stand-ins for a model, a detector and a reconstructor that cost little."""

import cv2
import numpy as np
import pytest
import torch

from lh2face.data.align import TEMPLATE
from lh2face.demo.faces import Faces
from lh2face.detection import Face
from lh2face.registry import MODELS
from lh2face.tools.verdict import choose_threshold

KNOWN = {
    "threshold": {"0.01": 0.5}, "impostor": 1200, "people": 60, "source": "synthetic",
    "benchmark": "drawn", "bins": ["frontal"],
}  # fmt: skip
KAPPA = {"mean": 20.0, "std": 3.0, "p5": 15.0}


def embed(faces: np.ndarray) -> np.ndarray:
    """Return the mean colours of parts of the face as embedding; κ is their contrast."""
    both = np.stack([faces, faces[:, :, ::-1]], axis=1).astype(np.float32)
    parts = both.reshape(len(faces), 2, 7, 16, 7, 16, 3).mean((3, 5)).reshape(len(faces), 2, -1)
    return (parts - 120) / 20


def detect(image: np.ndarray) -> list[Face]:
    """Find a face in every bright square; its height is the side of the square."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((image.mean(2) > 60).astype(np.uint8))
    return [
        Face(np.array([x, y, x + w, y + h]), TEMPLATE * (h / 112) + np.float32([x, y]), 1.0)
        for x, y, w, h, _ in stats[1:]
        if w > 30
    ]


@pytest.fixture(scope="session")
def faces() -> Faces:
    torch.manual_seed(0)
    config = {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}
    return Faces(
        embed, choose_threshold(KNOWN, None, None), KAPPA, detect, MODELS.build(config).eval()
    )


@pytest.fixture
def photo():
    """Returns a function that draws a black photo with faces at some places, as PNG."""

    def draw(*places: tuple[int, int, int], size: tuple[int, int] = (300, 400)) -> bytes:
        image = np.zeros((*size, 3), np.uint8)
        for number, (left, top, side) in enumerate(places):
            rng = np.random.default_rng(number)
            colors = rng.integers(80, 255, (7, 7, 3)).astype(np.uint8)
            image[top : top + side, left : left + side] = cv2.resize(
                colors, (side, side), interpolation=cv2.INTER_NEAREST
            )
        return cv2.imencode(".png", image)[1].tobytes()

    return draw
