"""Photos of people for a gallery, and a stand-in for a model."""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lh2face.cli import main

PROJECTION = np.random.default_rng(0).normal(size=(7 * 7 * 3, 16))


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Returns a function that runs ``lh2face`` and gives its exit code, output and errors."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lh2face", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        found = capsys.readouterr()
        return ended.value.code or 0, found.out, found.err

    return command


@pytest.fixture
def embedder() -> Callable[[np.ndarray], np.ndarray]:
    """Projects pixels at random; white faces give NaN, black ones zero."""

    def embed(faces: np.ndarray) -> np.ndarray:
        both = np.stack([faces, faces[:, :, ::-1]], axis=1)[:, :, ::16, ::16] - 128.0
        embeddings = both.reshape(len(faces), 2, -1) @ PROJECTION
        for grey, value in ((0, 0), (255, np.nan)):
            embeddings[(faces == grey).all(axis=(1, 2, 3))] = value
        return embeddings.astype(np.float32)

    return embed


@pytest.fixture
def face() -> Callable[[int, int], np.ndarray]:
    """Returns a function that draws a blurred picture of a person; noise differs between photos."""

    def draw(person: int, photo: int) -> np.ndarray:
        own, noise = (np.random.default_rng(seed) for seed in ([person], [person, photo]))
        image = cv2.GaussianBlur(own.normal(size=(112, 112, 3)), (0, 0), 8) * 1500 + 128
        return (image + 10 * noise.normal(size=image.shape)).clip(0, 254).astype(np.uint8)

    return draw


@pytest.fixture
def write_people(face) -> Callable[..., Path]:
    """Returns a function that writes a folder of people, ``p0/0.png`` and so on."""

    def write(root: Path, people: int = 4, photos: int = 3) -> Path:
        for person in range(people):
            (root / f"p{person}").mkdir(parents=True)
            for photo in range(photos):
                path = root / f"p{person}" / f"{photo}.png"
                cv2.imwrite(str(path), face(person, photo)[..., ::-1])
        return root

    return write
