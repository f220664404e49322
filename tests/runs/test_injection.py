"""A training records its validation, begins with given weights, and can keep the best ones."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lh2face.artifacts.model import load_model, read_description
from lh2face.data.recordio import RecordWriter
from lh2face.data.verification_bin import write_bin
from lh2face.params import Params, load_params
from lh2face.registry import MODELS
from lh2face.runs import fingerprint as fingerprints
from lh2face.stages import align_benchmark, train, weights
from lh2face.training import ValidationRecordHook, VerificationAccuracy

ROOT = Path(__file__).resolve().parents[2]
PEOPLE, IMAGES, SIZE = 5, 4, 32
SMALL = {
    "model.backbone": {"embedding_size": 16, "image_size": SIZE, "width": 0.25},
    "train_dataloader.batch_size": 10,
    "train_cfg.max_epochs": 4,
}
BEST = {"custom_hooks": [{"type": "BestModelHook", "monitor": "looked_at/accuracy"}]}


def photo(rng: np.random.Generator, color: np.ndarray) -> bytes:
    image = (color + rng.integers(-40, 40, (112, 112, 3))).clip(0, 255).astype(np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Folders ``sources`` and ``validation/looked_at`` as in the pipeline, of different colours."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    colors = rng.integers(40, 215, (PEOPLE, 3))
    (folder / "sources").mkdir()
    with RecordWriter(folder / "sources" / "train.rec") as writer:
        for key in range(PEOPLE * IMAGES):
            writer.write(key + 1, photo(rng, colors[key % PEOPLE]), key % PEOPLE)
    colors = rng.integers(40, 215, (6, 3))
    shown = [(i % 6, (i + j) % 6) for i in range(12) for j in (0, 1)]
    images = [photo(rng, colors[person]) for pair in shown for person in pair]
    write_bin(folder / "looked_at.bin", images, [one == other for one, other in shown])
    (folder / "raw").mkdir()
    out = folder / "validation" / "looked_at"
    align_benchmark.run(params(folder), "looked_at", folder / "raw", out)
    return folder


def params(folder: Path, options: dict | None = None, init: list | None = None) -> Params:
    values = load_params(ROOT / "params.yaml").model_dump()
    values["validation"] = {"looked_at": {"type": "bin", "path": str(folder / "looked_at.bin")}}
    values["train"] |= {"options": {**SMALL, **(options or {})}, "init": init or []}
    return Params.model_validate(values)


def run(data: Path, out: Path, options: dict | None = None, init: list | None = None) -> None:
    given = params(data, options, init)
    train.run(
        given, data / "sources", out, head="cosface", seed=0, validation=data / "validation",
        init=data / "init",
    )  # fmt: skip


def figures(model: Path) -> list[dict[str, str]]:
    with (model / "validation.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["name"] == "looked_at"]


def test_a_validation_of_the_parameters_is_recorded_in_the_models_folder(data, tmp_path):
    run(data, tmp_path / "model")
    assert [row["step"] for row in figures(tmp_path / "model")] == ["2", "4", "6", "8"]
    made = read_description(tmp_path / "model")["provenance"]
    assert made["best"] is None and made["init"] is None


def test_the_model_has_the_weights_of_the_best_validation(data, tmp_path, monkeypatch):
    # The second validation is the best.
    values, seen = iter([0.6, 0.9, 0.7, 0.8]), {}
    monkeypatch.setattr(
        VerificationAccuracy, "evaluate", lambda self, size: {"looked_at/accuracy": next(values)}
    )
    record = ValidationRecordHook.after_val_epoch

    def keep(self, runner, metrics):
        record(self, runner, metrics)
        state = runner.model.backbone.state_dict()
        seen[runner.iter] = {name: value.clone() for name, value in state.items()}

    monkeypatch.setattr(ValidationRecordHook, "after_val_epoch", keep)
    run(data, tmp_path / "model", BEST)
    found = load_model(tmp_path / "model").backbone.state_dict()
    assert all(torch.equal(value, seen[4][name]) for name, value in found.items())
    assert not all(torch.equal(value, seen[8][name]) for name, value in found.items())
    expected = {"step": 4, "monitor": "looked_at/accuracy", "value": 0.9}
    assert read_description(tmp_path / "model")["provenance"]["best"] == expected
    assert not list((tmp_path / "model.work").glob("best*"))


def test_a_training_begins_with_the_given_weights_and_records_them(data, tmp_path):
    run(data, tmp_path / "first")
    given = params(data, {"train_cfg.max_epochs": 2}, [{"path": str(tmp_path / "first")}])
    weights.run(given, tmp_path / "first", tmp_path / "init")
    train.run(
        given, data / "sources", tmp_path / "second", head="lh2face", seed=1,
        init=tmp_path / "init",
    )  # fmt: skip
    before = load_file(tmp_path / "first" / "model.safetensors")
    after = load_file(tmp_path / "second" / "model.safetensors")
    torch.manual_seed(1)
    anew = MODELS.build(given.train.recipe().model.backbone).state_dict()
    name = "backbone.stem.0.0.weight"
    near = (after[name] - before[name]).norm() / before[name].norm()
    far = (after[name] - anew[name.removeprefix("backbone.")]).norm() / before[name].norm()
    assert near < 0.3 < far
    description = read_description(tmp_path / "second")
    assert description["provenance"]["init"]["path"] == str(tmp_path / "first")
    assert "init_cfg" not in json.dumps(description)
    load_model(tmp_path / "second")


def test_other_initial_weights_or_validation_faces_change_the_fingerprint(
    data, tmp_path, monkeypatch, capsys
):
    given = params(data, init=[{"path": "somewhere"}])
    network = MODELS.build(given.train.recipe().model.backbone)

    def fingerprint() -> dict:
        torch.save(network.state_dict(), tmp_path / "net.pth")
        weights.run(given, tmp_path / "net.pth", tmp_path / "init")
        config = train.training_config(
            given, data / "sources", "cosface", 0, None, data / "validation", tmp_path / "init"
        )
        return fingerprints.run_fingerprint(config, None)

    first = fingerprint()
    assert fingerprint() == first
    with torch.no_grad():
        next(network.parameters()).add_(1e-3)
    second = fingerprint()
    assert fingerprints.changes(first, second) == ["parameters.model.backbone.init_cfg.path"]
    images = data / "validation" / "looked_at" / "images.csv"
    text = images.read_text()
    try:
        images.write_text(text + "\n")
        third = fingerprint()
    finally:
        images.write_text(text)
    assert fingerprints.changes(second, third) == ["parameters.val_dataloader.dataset.paths"]


def test_missing_files_are_named_before_anything_runs(data, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere/looked_at: no benchmark\.json in it"):
        train.run(
            params(data), data / "sources", tmp_path / "model", head="cosface", seed=0,
            validation=tmp_path / "nowhere",
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"init/provenance\.json: no such file"):
        run(data, tmp_path / "model", init=[{"path": "x.pth"}])
    assert not (tmp_path / "model").exists()
