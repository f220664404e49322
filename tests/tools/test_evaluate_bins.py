"""Figures of verification bins equal those counted by hand; unusable inputs are named."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lh2face.data.verification_bin import write_bin
from lh2face.tools import evaluate_bins


def colour(value: int, size: int = 112) -> bytes:
    return cv2.imencode(".png", np.full((size, size, 3), value, np.uint8))[1].tobytes()


def embedder(faces: np.ndarray) -> np.ndarray:
    """Return embeddings whose angle is the grey level of a face, with κ 5."""
    angle = faces[:, 0, 0, 0].astype(np.float32) / 100
    return np.repeat(5 * np.stack([np.cos(angle), np.sin(angle)], 1)[:, None], 2, axis=1)


@pytest.fixture
def bin_file(tmp_path) -> Path:
    """A bin: genuine pairs differ by 1 grey level, except one by 60; impostors by 32, 36 … 108."""
    levels, same = [], np.arange(40) % 2 == 0
    for i, genuine in enumerate(same):
        levels += [50, 50 + ((60 if i == 8 else 1) if genuine else 30 + 2 * i)]
    write_bin(tmp_path / "lfw.bin", [colour(level) for level in levels], same)
    return tmp_path / "lfw.bin"


def test_figures_of_a_bin_equal_those_counted_by_hand(bin_file, tmp_path, monkeypatch, capsys):
    found = evaluate_bins.evaluate_bin(bin_file, embedder)
    assert found["pairs"] == 40
    assert found["accuracy"] == pytest.approx(39 / 40)
    assert found["accuracy_std"] == pytest.approx(np.std([0.75] + [1] * 9))
    assert found["tar"] == {"0.1": 0.95, "0.01": None, "0.001": None, "0.0001": None}
    assert np.cos(0.32) < found["threshold"] < np.cos(0.01)
    assert found["kappa"] == pytest.approx({"mean": 5, "p5": 5})
    monkeypatch.setattr(evaluate_bins, "open_embedder", lambda path: embedder)
    monkeypatch.setattr(evaluate_bins, "model_digest", lambda path: "d")
    monkeypatch.setenv("COLUMNS", "200")
    evaluate_bins.run([bin_file], tmp_path / "model", tmp_path / "out" / "bins.json")
    assert "97.50 ± 7.50" in capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "bins.json").read_text())
    assert written == {"model": "d", "bins": {"lfw": found}}


def test_unusable_inputs_are_named(bin_file, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_bins, "open_embedder", lambda path: embedder)
    for content, same, message in (
        ([colour(1)] * 4, [True, False], "few.bin: pairs: ten folds need at least 10, found 2"),
        ([colour(1)] * 40, [True] * 20, "few.bin: labels: there are no impostor pairs"),
        ([colour(1), colour(1, 64)], [True], "few.bin: image 1: expected an aligned face of 112"),
        ([colour(1), b"text"], [True], "few.bin: image 1: not a picture"),
    ):
        write_bin(tmp_path / "few.bin", content, same)
        with pytest.raises(ValueError, match=message):
            evaluate_bins.run([tmp_path / "few.bin"], tmp_path)
    with pytest.raises(ValueError, match="bins: found the name lfw more than once"):
        evaluate_bins.run([bin_file, Path("other") / "lfw.bin"], tmp_path)
    for value, word in ((np.nan, "not finite"), (0, "zero")):
        with pytest.raises(ValueError, match=rf"lfw\.bin: image 0: .* is {word}"):
            evaluate_bins.evaluate_bin(bin_file, lambda f, v=value: v * embedder(f))


def test_a_forbidden_output_stops_the_command_before_any_work(bin_file, tmp_path):
    for out in (bin_file, tmp_path):
        with pytest.raises(ValueError, match=r"is an input|lh2face did not write it"):
            evaluate_bins.run([bin_file], tmp_path / "no model", out)
