"""Faces of five colours for training and validation, and a config that trains in a second."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from lh2face.configs import RECOGNITION
from lh2face.data.recordio import RecordWriter
from lh2face.data.verification_bin import write_bin

sys.path.insert(0, str(Path(__file__).parent))  # makes tiny_run importable

PEOPLE, IMAGES, SIZE = 5, 4, 32


def photo(rng: np.random.Generator, color: np.ndarray) -> bytes:
    """Return an aligned face of a colour."""
    noise = rng.integers(-90, 90, (112, 112, 3))
    noise = cv2.resize(noise.astype(np.float32), None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA)
    noise = 2 * cv2.resize(noise, (112, 112))
    return cv2.imencode(".png", (color + noise).clip(0, 255).astype(np.uint8))[1].tobytes()


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    """A folder with ``sources/train.rec``, and ``validation.bin`` with other colours."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    (folder / "sources").mkdir()
    colors = rng.integers(60, 195, (PEOPLE, 3))
    with RecordWriter(folder / "sources" / "train.rec") as writer:
        for key in range(PEOPLE * IMAGES):
            writer.write(key + 1, photo(rng, colors[key % PEOPLE]), key % PEOPLE)
    colors = rng.integers(60, 195, (6, 3))
    people = [[photo(rng, color) for _ in range(4)] for color in colors]
    images, same = [], []
    for _ in range(40):
        one, other = rng.choice(len(people), 2, replace=False)
        first, second = rng.choice(4, 2, replace=False)
        images += [people[one][first], people[one][second]]
        images += [people[one][first], people[other][second]]
        same += [True, False]
    write_bin(folder / "validation.bin", images, same)
    return folder


@pytest.fixture
def config(faces, tmp_path) -> Config:
    """A config of two epochs with two steps each."""
    found = Config.fromfile(RECOGNITION)
    found.model.backbone.update(embedding_size=16, image_size=SIZE, width=0.25)
    found.model.head = {"type": "NormFaceHead", "num_classes": PEOPLE, "in_channels": 16}
    found.train_dataloader.update(batch_size=10, num_workers=0)
    found.train_dataloader.dataset.update(root=str(faces / "sources"), image_size=SIZE)
    found.val_dataloader.update(batch_size=7, num_workers=0)
    found.val_dataloader.dataset.update(paths=[str(faces / "validation.bin")], image_size=SIZE)
    found.param_scheduler = None
    found.train_cfg.max_epochs = 2
    found.work_dir = str(tmp_path / "work")
    found.experiment_name = tmp_path.name
    found.log_level = "ERROR"
    return found
