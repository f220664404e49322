"""The examples run with the commands in their docstrings, and give the promised results."""

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from lh2face.artifacts.model import save_model
from lh2face.registry import MODELS

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_example_of_an_mmengine_config_learns(tmp_path):
    run("mmengine_config.py", tmp_path)
    losses = [float(row["loss_vmf"]) for row in rows(tmp_path / "training.csv")]
    assert len(losses) == 8 and losses[-1] < 0.8 * losses[0]


def test_the_example_compares_two_folders(tmp_path):
    torch.manual_seed(0)
    backbone = {"type": "MobileFaceNet", "embedding_size": 16, "width": 0.25, "image_size": 48}
    config = {"type": "FaceRecognizer", "backbone": backbone}
    rng = np.random.default_rng(0)
    for folder in ("model", "first", "second"):
        (tmp_path / folder).mkdir()
    save_model(tmp_path / "model", MODELS.build(config), config, {})
    for name in ("a.png", "b.png", "c.png"):
        photo = rng.integers(0, 255, (112, 112, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "second" / name), photo)
    # The picture b.png is in both folders, in the first as x.bmp.
    cv2.imwrite(str(tmp_path / "first" / "x.bmp"), cv2.imread(str(tmp_path / "second" / "b.png")))
    out = tmp_path / "scores.csv"
    arguments = (tmp_path / "first", tmp_path / "second", "--model", tmp_path / "model")
    assert run("score_folders.py", *arguments, "--out", out) == "x.bmp: b.png, 1.000\n"
    scores = {row["second"]: row for row in rows(out)}
    assert list(scores) == ["a.png", "b.png", "c.png"]
    assert scores["b.png"]["kappa_first"] == scores["b.png"]["kappa_second"]
    assert float(scores["a.png"]["score"]) < 1


def test_the_example_of_a_turned_face_draws_it(tmp_path):
    run("fit_and_turn.py", tmp_path, 3)
    assert cv2.imread(str(tmp_path / "face.png")).std() > 20
    with Image.open(tmp_path / "face.gif") as turn:
        assert turn.n_frames == 48
        frames = []
        for i in (0, 12, 36):
            turn.seek(i)
            frames.append(np.asarray(turn.convert("L"), float))
    left, front, right = frames[1], frames[0], frames[2]
    for a, b in ((left, front), (front, right), (left, right)):
        assert np.abs(a - b).mean() > 5
