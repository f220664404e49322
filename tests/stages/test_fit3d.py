"""Stage fit3d writes a reconstructor, resumes with the same bits, and refuses bad inputs."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lh2face import cli
from lh2face.artifacts.info import read_provenance
from lh2face.artifacts.model import load_reconstructor
from lh2face.artifacts.run_metrics import read_fit
from lh2face.artifacts.training_record import read_training
from lh2face.data.align import TEMPLATE
from lh2face.data.recordio import RecordWriter
from lh2face.distributed.finite import NonFiniteError
from lh2face.files.outputs import MANIFEST
from lh2face.params import load_params
from lh2face.reconstruction import Unsup3DReconstructor
from lh2face.stages import fit3d
from lh2face.training import TrainingRecordHook
from tests.processes import in_processes, places

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 30
WEIGHTS = "reconstructor.safetensors"
SMALL = {
    "model.reconstructor": {
        "_delete_": True,
        "type": "Unsup3DReconstructor",
        "image_size": 16,
        "width": 4,
    },
    "train_dataloader.batch_size": 8,
    "train_cfg.max_epochs": 3,
}


@pytest.fixture(scope="module")
def aligned(tmp_path_factory) -> Path:
    """Records of noisy ramps; their labels are not used."""
    folder = tmp_path_factory.mktemp("aligned")
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 190, 32)[:, None, None] * np.ones((1, 32, 3))
    with RecordWriter(folder / "train.rec") as writer:
        for key in range(IMAGES):
            image = (ramp + rng.integers(-40, 40, ramp.shape)).clip(0, 255).astype(np.uint8)
            writer.write(key + 1, cv2.imencode(".jpg", image)[1].tobytes(), key % 2)
    return folder


def run(aligned: Path, out: Path, seed: int = 0, **options) -> dict[str, torch.Tensor]:
    params = load_params(ROOT / "params.yaml")
    fit = params.fit3d.model_copy(update={"options": {**SMALL, **options}, "seed": seed})
    fit3d.run(params.model_copy(update={"fit3d": fit}), aligned, out)
    return load_file(out / WEIGHTS)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: cell for name, cell in row.items() if name != "images_per_second"}
            for row in csv.DictReader(file)
        ]


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.fixture(scope="module")
def whole(aligned, tmp_path_factory) -> Path:
    """The folder of a run without interruption."""
    out = tmp_path_factory.mktemp("runs") / "fit3d"
    run(aligned, out)
    return out


def test_the_output_has_reconstructor_record_and_cost(aligned, whole):
    written = {WEIGHTS, "model.json", "training.csv", "metrics.json", MANIFEST}
    assert {path.name for path in whole.iterdir()} == written
    model = load_reconstructor(whole)
    assert isinstance(model, Unsup3DReconstructor)
    assert model(torch.zeros(1, 3, 16, 16)).depth.shape == (1, 16, 16)
    record, metrics = rows(whole / "training.csv"), read_fit(whole / "metrics.json")
    terms = {"loss", "loss_image", "loss_flipped", "loss_prior", "loss_smooth"}
    assert metrics.keys() == terms | {"steps", "images_per_second", "seconds", "peak_memory_mib"}
    assert metrics["steps"] == 9 and metrics["peak_memory_mib"] > 0
    assert metrics["loss_image"] == float(record[-1]["loss_image"])
    assert metrics["seconds"] == pytest.approx(72 / metrics["images_per_second"], rel=0.01)
    assert float(record[-1]["loss"]) < float(record[0]["loss"])
    made = read_provenance(whole)
    assert made["seed"] == 0 and made["data"].keys() >= {"train.rec"}
    assert made["params"]["model"]["type"] == "ReconstructorTrainer"
    assert not list(whole.with_name("fit3d.work").glob("last*"))


def test_the_learning_rate_falls_along_a_cosine(whole, aligned, tmp_path):
    rates = [float(row["lr"]) for row in rows(whole / "training.csv")]
    # A row is written per epoch of three steps, with the rate of steps 3, 6 and 9.
    expected = [1e-3 * (1 + np.cos(np.pi * step / 9)) / 2 for step in (2, 5, 8)]
    assert rates == pytest.approx(expected, rel=0.02)


def test_another_seed_gives_another_reconstructor(aligned, whole, tmp_path):
    again, other = run(aligned, tmp_path / "again"), run(aligned, tmp_path / "other", seed=1)
    assert_equal(again, load_file(whole / WEIGHTS))
    name = "view_network.network.0.weight"
    assert not torch.equal(other[name], again[name])


class StopError(Exception):
    """Stops a run."""


@pytest.mark.parametrize(("step", "interval"), [(0, 1), (4, 1), (6, 1000)])
def test_a_resumed_run_ends_with_the_same_bits(
    aligned, whole, tmp_path, monkeypatch, capsys, step, interval
):
    options = {"default_hooks.checkpoint.interval": interval}
    original = TrainingRecordHook.after_train_iter

    def interrupted(self, runner, *args, **kwargs):
        original(self, runner, *args, **kwargs)
        if runner.iter >= step:
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRecordHook, "after_train_iter", interrupted)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "fit3d", **options)
    assert not (tmp_path / "fit3d").exists()
    torch.manual_seed(99)
    capsys.readouterr()
    assert_equal(run(aligned, tmp_path / "fit3d", **options), load_file(whole / WEIGHTS))
    assert ("epoch 1/3" in capsys.readouterr().out) == (step == 0)
    assert rows(tmp_path / "fit3d" / "training.csv") == rows(whole / "training.csv")
    metrics = read_fit(tmp_path / "fit3d" / "metrics.json")
    assert (metrics["steps"], metrics["loss"]) == (9, read_fit(whole / "metrics.json")["loss"])


def test_with_other_faces_the_run_begins_again(aligned, tmp_path, monkeypatch, capsys):
    def stop(self, runner, *args, **kwargs):
        if runner.iter >= 4:
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRecordHook, "after_train_iter", stop)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "fit3d")
    capsys.readouterr()
    run(aligned, tmp_path / "fit3d", **{"optim_wrapper.optimizer.lr": 2e-3})
    changed = "these changed: parameters.optim_wrapper.optimizer.lr\n"
    assert changed in capsys.readouterr().out


def test_a_diverging_run_stops_with_one_line_and_no_output(aligned, tmp_path):
    words = r"stopped at step \d, learning rate \S+: the (loss|norm of the gradients) is (nan|inf)"
    with pytest.raises(NonFiniteError, match=words) as it:
        run(aligned, tmp_path / "fit3d", **{"optim_wrapper.optimizer.lr": 1e30})
    assert "\n" not in str(it.value)
    assert not (tmp_path / "fit3d").exists()


def test_fewer_faces_than_a_batch_are_named(aligned, tmp_path):
    with pytest.raises(ValueError, match=r"fit3d: .*batch_size: 31 is more than the 30 images"):
        run(aligned, tmp_path / "fit3d", **{"train_dataloader.batch_size": 31})
    assert not list(tmp_path.iterdir())


def test_the_pose_is_learnt_from_the_landmarks_of_the_faces(aligned, tmp_path):
    posed = {"model.reconstructor": {**SMALL["model.reconstructor"], "pose": "landmarks"}}
    with pytest.raises(
        ValueError, match=r"aligned_landmarks\.npy: no such file.*fit3d\.options: .*pose: images"
    ):
        run(aligned, tmp_path / "none", **posed)
    faces = tmp_path / "faces"
    shutil.copytree(aligned, faces)
    np.save(faces / "aligned_landmarks.npy", np.repeat(TEMPLATE[None], IMAGES, 0))
    run(faces, tmp_path / "fit3d", **posed)
    metrics = read_fit(tmp_path / "fit3d" / "metrics.json")
    assert "loss_pose" in metrics and "loss_prior" not in metrics
    assert load_reconstructor(tmp_path / "fit3d").pose == "landmarks"


def test_a_record_without_a_row_is_named(tmp_path):
    (tmp_path / "training.csv").write_text("step,loss,images_per_second\n")
    with pytest.raises(ValueError, match=r"training\.csv: has no row"):
        read_training(tmp_path / "training.csv", 8)


def test_the_cost_adds_up_all_rows_of_a_record(tmp_path):
    (tmp_path / "training.csv").write_text("step,loss,images_per_second\n4,3,16\n6,2,8\n")
    cost, losses = read_training(tmp_path / "training.csv", 8)
    # 4 steps of 8 images at 16 images/s, then 2 steps at 8 images/s.
    assert cost == {"steps": 6, "images_per_second": 12.0, "seconds": 4.0}
    assert losses == {"loss": 2.0}


def fit_in_one(aligned: Path, out: Path, batch: int) -> None:
    """Fit in one of several processes, as the command does."""
    cli.app = lambda: run(aligned, out, **{"train_dataloader.batch_size": batch})
    cli.main()


def two_processes(aligned: Path, out: Path, batch: int) -> tuple[list[int], list[str]]:
    """Fit in two processes as torchrun starts them; return their exit codes and output."""
    return in_processes(out.parent, places(2), fit_in_one, aligned, out, batch)


def test_two_processes_train_one_reconstructor(aligned, whole, tmp_path):
    codes, printed = two_processes(aligned, tmp_path / "fit3d", 8)
    assert codes == [0, 0], printed
    assert "epoch 3/3" in printed[0] and "epoch" not in printed[1]
    record = rows(tmp_path / "fit3d" / "training.csv")
    assert [row["step"] for row in record] == ["3", "6", "9"]
    alone = rows(whole / "training.csv")
    # Steps have the same images, but others of them are mirrored.
    for two, one in zip(record, alone, strict=True):
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=0.05)
    assert json.loads((tmp_path / "fit3d" / "metrics.json").read_text())["steps"] == 9


@pytest.mark.faults
def test_a_batch_that_two_processes_do_not_divide_is_refused(aligned, tmp_path):
    codes, printed = two_processes(aligned, tmp_path / "fit3d", 9)
    assert codes == [1, 1], printed
    assert printed[0].startswith("lh2face: fit3d: train_dataloader.batch_size: 9 images cannot be")
    assert printed[0].count("\n") == 1 and printed[1] == ""
