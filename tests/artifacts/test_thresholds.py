"""Thresholds of a model come from its own evaluation on photos with the most impostor pairs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lh2face.adapters.insightface import export_onnx
from lh2face.artifacts.model import model_digest, save_model
from lh2face.artifacts.thresholds import read_metrics, read_thresholds
from lh2face.cli import main
from lh2face.data.ijb_meta import write_meta
from lh2face.data.synthetic_protocol import PROTOCOLS, synthetic_meta
from lh2face.registry import MODELS

BACKBONE = {"type": "MobileFaceNet", "embedding_size": 32, "width": 0.25, "image_size": 48}
KAPPA = {"mean": 10.0, "std": 1.0, "p5": 8.0}


@pytest.fixture
def model(tmp_path) -> Path:
    """The folder of a trained model that was not evaluated."""
    torch.manual_seed(0)
    config = {"type": "FaceRecognizer", "backbone": BACKBONE}
    (tmp_path / "run" / "model").mkdir(parents=True)
    save_model(tmp_path / "run" / "model", MODELS.build(config), config, {})
    return tmp_path / "run" / "model"


def evaluation(
    model: Path, name: str, impostor: int | None = None, source: str = "photos",
    measured: str | None = None,
) -> Path:  # fmt: skip
    """Write an evaluation of the model; ``impostor`` is its number of impostor pairs of photos."""
    folder = model.parent / "evaluation" / name
    folder.mkdir(parents=True)
    metrics: dict = {"kappa": KAPPA}
    if impostor is not None:
        threshold = {"0.01": round(impostor / 1e5, 5)}
        metrics["single_images"] = {"source": source, "impostor": impostor, "threshold": threshold}
        metrics["bins"] = {name: {"accuracy": 0.5}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    made = {"model": measured or model_digest(model), "origin": source}
    (folder / "provenance.json").write_text(json.dumps(made))
    return folder


def test_without_pairs_of_photos_there_are_no_thresholds(model, tmp_path):
    assert read_thresholds(model) is None
    evaluation(model, "ijbc")
    assert read_thresholds(model) is None
    export_onnx(model, tmp_path / "m.onnx", model.parent / "evaluation" / "ijbc")
    assert read_thresholds(tmp_path / "m.onnx") is None


def test_thresholds_come_from_photos_with_the_most_impostor_pairs(model, tmp_path):
    evaluation(model, "people", 9000, "synthetic")
    assert read_thresholds(model)["benchmark"] == "people"
    evaluation(model, "ijbc")
    evaluation(model, "lfw", 3000)
    cfp = evaluation(model, "cfp_fp", 3500)
    evaluation(model, "agedb_30", 3000)
    found = read_thresholds(model)
    assert (found["benchmark"], found["impostor"], found["bins"]) == ("cfp_fp", 3500, ["cfp_fp"])
    assert found["threshold"] == {"0.01": 0.035} and found["kappa"] == KAPPA
    export_onnx(model, tmp_path / "m.onnx", cfp)
    assert read_thresholds(tmp_path / "m.onnx") == found
    # The user may choose another evaluation.
    export_onnx(model, tmp_path / "m.onnx", model.parent / "evaluation" / "lfw")
    assert read_thresholds(tmp_path / "m.onnx")["benchmark"] == "lfw"


def test_an_evaluation_of_another_model_is_refused(model):
    evaluation(model, "lfw", 3000)
    # A partial folder that a killed process left is not read.
    evaluation(model, ".cfp.0123.partial", 4000, measured="0123")
    assert read_thresholds(model)["benchmark"] == "lfw"
    evaluation(model, "ijbc", measured="0123")
    with pytest.raises(ValueError, match=r"ijbc/provenance\.json: it is the evaluation of another"):
        read_thresholds(model)


def test_a_folder_that_holds_evaluations_is_refused(model):
    lfw = evaluation(model, "lfw", 3000)
    evaluation(model, "people", 9000)
    with pytest.raises(ValueError, match=f"expected one evaluation, .*; give {lfw} or another"):
        read_metrics(lfw.parent, model)
    with pytest.raises(ValueError, match=r"model/metrics\.json: .*expected an evaluation"):
        read_metrics(model, model)


@pytest.mark.parametrize("people", [0, -3, 2.5, "many", True, [7]])
def test_an_invalid_number_of_people_is_refused(model, people):
    path = evaluation(model, "lfw", 3000) / "provenance.json"
    made = json.loads(path.read_text())
    assert read_thresholds(model)["people"] is None
    path.write_text(json.dumps({**made, "people": 40}))
    assert read_thresholds(model)["people"] == 40
    path.write_text(json.dumps({**made, "people": people}))
    with pytest.raises(ValueError, match="people: expected a whole number above 0, found"):
        read_thresholds(model)


def test_an_evaluation_by_evaluate_ijb_is_accepted(model, tmp_path, monkeypatch, capsys):
    meta = synthetic_meta(replace(PROTOCOLS["ijbb"].scaled(0.003), images=130, impostor=100))
    root, rng = tmp_path / "ijb", np.random.default_rng(0)
    write_meta(root, "ijbb", meta)
    (root / "loose_crop").mkdir()
    for name in meta.names:
        cv2.imwrite(str(root / "loose_crop" / name), rng.integers(0, 255, (112, 112, 3), np.uint8))

    def run(*arguments) -> str:
        monkeypatch.setattr(sys, "argv", ["lh2face", *map(str, arguments)])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().err

    ijb = ("evaluate-ijb", "--root", root, "--protocol", "ijbb", "--out")
    run(*ijb, tmp_path / "a", "--checkpoint", model)
    assert run("export-onnx", model, tmp_path / "m.onnx", "--evaluation", tmp_path / "a") == ""
    card = (tmp_path / "m.md").read_text()
    rank = json.loads((tmp_path / "a" / "metrics.json").read_text())["identification"]["rank"]["1"]
    assert f"| rank-1 | {100 * rank:.1f} |" in card
    lists = (meta.probes, *meta.galleries.values())
    people = len({who for one in lists for who in one.subject_ids.tolist()})
    assert f"Measured on only {people} people" in card
    assert (
        "Origin of the faces that it was measured on: photos." in card and "Thresholds" not in card
    )
    # The exported file counts as another model, and features do not say which model made them.
    run(*ijb, tmp_path / "b", "--model", tmp_path / "m.onnx")
    run(*ijb, tmp_path / "c", "--features", tmp_path / "a" / "embeddings.npy")
    for name, message in (("b", "the evaluation of another model"), ("c", "does not say which")):
        error = run("export-onnx", model, tmp_path / "n.onnx", "--evaluation", tmp_path / name)
        assert message in error and not (tmp_path / "n.onnx").exists()
