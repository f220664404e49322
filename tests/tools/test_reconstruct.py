import os
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lh2face.cli import main
from lh2face.data.align import TEMPLATE, norm_crop
from lh2face.detection import Face, Mtcnn
from lh2face.registry import MODELS
from lh2face.tools import reconstruct
from lh2face.tools.reconstruct import TURNS


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    monkeypatch.setattr(reconstruct, "FRAMES", 8)


@pytest.fixture
def fitted(tmp_path):
    torch.manual_seed(0)
    model = MODELS.build({"type": "Unsup3DReconstructor", "image_size": 16, "width": 4})
    (tmp_path / "fit3d").mkdir()
    save_file(model.state_dict(), tmp_path / "fit3d" / "reconstructor.safetensors")
    (tmp_path / "fit3d" / "model.json").write_text(
        '{"reconstructor": {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}}'
    )
    return tmp_path / "fit3d"


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lh2face", "reconstruct", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_every_image_gives_a_sheet_and_a_turn(monkeypatch, tmp_path, fitted):
    rng = np.random.default_rng(0)
    images = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for path in images:
        cv2.imwrite(str(path), rng.integers(0, 256, (112, 112, 3), np.uint8))
    assert not run(monkeypatch, *images, "--out", tmp_path / "out", "--model", fitted)
    for name in ("a", "b"):
        sheet = cv2.imread(str(tmp_path / "out" / f"{name}.png"))
        assert sheet.shape == (300, 132 * len(TURNS), 3)
        # The sheet shows the input with its own colours, in another size.
        given = cv2.imread(str(tmp_path / f"{name}.{'png' if name == 'a' else 'jpg'}"))
        means = sheet[:128, :128].mean((0, 1)), given.mean((0, 1))
        np.testing.assert_allclose(*means, atol=4)
        with Image.open(tmp_path / "out" / f"{name}.gif") as turn:
            assert turn.n_frames == 8


def test_photos_are_aligned_before_reconstruction(monkeypatch, tmp_path, fitted, capsys):
    """Landmarks or a detector align them; the sheet equals that of the aligned face."""
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8),
                             (0, 0), 4)  # fmt: skip
    points = TEMPLATE * 1.2 + (90, 20)
    (tmp_path / "aligned").mkdir()
    for path, pixels in (("photo.png", image), ("aligned/photo.png", norm_crop(image, points))):
        cv2.imwrite(str(tmp_path / path), pixels)
    photo = tmp_path / "photo.png"
    (tmp_path / "l.csv").write_text(f"{photo},{','.join(map(str, points.ravel()))}\n")
    monkeypatch.setattr(Mtcnn, "open", lambda _: lambda image: [Face(np.r_[0:4], points, 1)])
    for out, given in {
        "a": [tmp_path / "aligned" / "photo.png"],
        "l": [photo, "--landmarks", tmp_path / "l.csv"],
        "d": [photo, "--detector", "mtcnn"],
    }.items():
        assert not run(monkeypatch, *given, "--out", tmp_path / out, "--model", fitted)
    sheets = [(tmp_path / out / "photo.png").read_bytes() for out in "ald"]
    assert sheets[0] == sheets[1] == sheets[2]
    both = [photo, "--landmarks", tmp_path / "l.csv", "--detector", "mtcnn"]
    assert run(monkeypatch, *both, "--out", tmp_path / "out", "--model", fitted) == 1
    assert "--detector: found --landmarks too; give one of them" in capsys.readouterr().err


def test_a_huge_file_is_not_read(monkeypatch, tmp_path, fitted, capsys):
    (tmp_path / "a.png").touch()
    os.truncate(tmp_path / "a.png", 1 << 40)
    assert run(monkeypatch, tmp_path / "a.png", "--out", tmp_path / "o", "--model", fitted) == 1
    assert "a.png: 1099511627776 bytes; a picture has at most" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_unusable_inputs_are_named(monkeypatch, tmp_path, fitted, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert run(monkeypatch, tmp_path / "bad.png", "--out", tmp_path / "out", "--model", fitted) == 1
    assert "bad.png: not a picture" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    same = [tmp_path / "bad.png", tmp_path / "bad.png"]
    assert run(monkeypatch, *same, "--out", tmp_path / "out", "--model", fitted) == 1
    assert "found the name bad more than once" in capsys.readouterr().err
    assert run(monkeypatch, same[0], "--out", tmp_path / "out", "--model", tmp_path / "other") == 1
    assert "model.json" in capsys.readouterr().err
