"""Stage train writes a model, and a resumed run ends with the same bits as one without a stop."""

import csv
import dataclasses
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from lh2face import cli
from lh2face.artifacts.model import load_model, read_description
from lh2face.artifacts.training_record import drop_rows
from lh2face.configs import RECOGNITION
from lh2face.data.manifest import Manifest, ManifestError, read_manifest, write_manifest
from lh2face.data.recordio import RecordReader, RecordWriter, identity, image_keys
from lh2face.data.records import records_digest
from lh2face.distributed.finite import NonFiniteError
from lh2face.files.outputs import MANIFEST, exclusive
from lh2face.params import load_params
from lh2face.recognizers import FaceRecognizer
from lh2face.registry import MODELS
from lh2face.runs import fingerprint as fingerprints
from lh2face.runs import work_folder
from lh2face.stages import train
from lh2face.training import LastCheckpointHook, ShardedCheckpointHook, TrainingRecordHook
from tests.processes import in_processes, places

ROOT = Path(__file__).resolve().parents[2]
PEOPLE, IMAGES, SIZE = 5, 6, 32
SHARDED = {"type": "ShardedHead", "head": {"type": "LH2FaceHead", "vmf_dim": 64}}
SHORT = {
    "batch_size": "train_dataloader.batch_size",
    "epochs": "train_cfg.max_epochs",
    "optimizer": "optim_wrapper.optimizer",
    "workers": "train_dataloader.num_workers",
}
RECONSTRUCTOR = {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}


@pytest.fixture(scope="module")
def aligned(tmp_path_factory) -> Path:
    """Records of five colours, six noisy images each."""
    folder = tmp_path_factory.mktemp("aligned")
    rng = np.random.default_rng(0)
    colors = rng.integers(40, 215, (PEOPLE, 1, 1, 3))
    with RecordWriter(folder / "train.rec") as writer:
        for key in range(PEOPLE * IMAGES):
            noise = rng.integers(-40, 40, (SIZE, SIZE, 3))
            image = (colors[key % PEOPLE] + noise).clip(0, 255).astype(np.uint8)
            writer.write(key + 1, cv2.imencode(".jpg", image)[1].tobytes(), key % PEOPLE)
    (folder / "property").write_text(f"{PEOPLE},{SIZE},{SIZE}\n")
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """An untrained reconstructor, as stage ``fit3d`` writes it."""
    folder = tmp_path_factory.mktemp("fit3d")
    torch.manual_seed(5)
    save_file(MODELS.build(RECONSTRUCTOR).state_dict(), folder / "reconstructor.safetensors")
    (folder / "model.json").write_text(
        '{"reconstructor": {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}}'
    )
    return folder


def make_params(joint=None, sources=("people",), **changes):
    small = {
        "model.backbone": {"embedding_size": 16, "image_size": SIZE, "width": 0.25},
        "train_dataloader.batch_size": 8,
        "train_cfg.max_epochs": 3,
        "param_scheduler.0.end": 0.5,
        "param_scheduler.1.begin": 0.5,
    }
    options = {SHORT.get(name, name): value for name, value in changes.items()}
    params = load_params(ROOT / "params.yaml")
    return params.model_copy(
        update={
            "train": params.train.model_copy(update={"options": {**small, **options}}),
            "joint": params.joint.model_copy(update=joint or {}),
            "sources": dict.fromkeys(sources),
            "heads": {**params.heads, "sharded": SHARDED},
        }
    )


def run(aligned, out, head="lh2face", seed=0, reconstructor=None, **changes):
    params = make_params(**changes)
    train.run(params, aligned, out, head=head, seed=seed, reconstructor=reconstructor)
    return load_file(out / "model.safetensors")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_time(records: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in records]


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def whole(aligned, tmp_path_factory) -> Path:
    """The folder of a run without interruption."""
    out = tmp_path_factory.mktemp("runs") / "model"
    run(aligned, out)
    return out


def test_the_output_has_model_and_record(whole):
    written = {"model.safetensors", "model.json", "training.csv", MANIFEST}
    assert {p.name for p in whole.iterdir()} == written
    description = read_description(whole)
    assert (description["image_size"], description["embedding_size"]) == (SIZE, 16)
    made = description["provenance"]
    assert (made["params"]["head"]["name"], made["seed"], made["device"]) == ("lh2face", 0, "cpu")
    assert made["data"].keys() == {"property", "train.idx", "train.rec"}
    assert not any(name.startswith("head.") for name in load_file(whole / "model.safetensors"))
    record = rows(whole / "training.csv")
    assert [(row["step"], row["epoch"]) for row in record] == [("3", "1"), ("6", "2"), ("9", "3")]
    for name in ("lr", "loss", "loss_vmf", "mean_kappa", "margin", "images_per_second"):
        assert all(np.isfinite(float(row[name])) for row in record), name
    assert float(record[-1]["loss"]) < float(record[0]["loss"])
    assert load_model(whole)(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 16)


def test_work_directory_keeps_tensorboard_but_no_finished_checkpoint(whole):
    work = whole.with_name("model.work")
    assert list(work.rglob("events.out.tfevents.*"))
    assert not (work / LastCheckpointHook.file_name).exists()


def test_the_model_follows_from_the_seed(aligned, whole, tmp_path):
    again = run(aligned, tmp_path / "again")
    assert_equal(again, load_file(whole / "model.safetensors"))
    assert (tmp_path / "again" / "model.json").read_text() == (whole / "model.json").read_text()
    other = run(aligned, tmp_path / "other", seed=1)
    assert not torch.equal(other["backbone.stem.0.0.weight"], again["backbone.stem.0.0.weight"])


def test_workers_do_not_change_the_result(aligned, whole, tmp_path):
    assert_equal(run(aligned, tmp_path / "m", workers=2), load_file(whole / "model.safetensors"))


class StopError(Exception):
    """Stops a run."""


def interrupt(monkeypatch, hook: type, method: str, step: int) -> None:
    """Let a hook's method raise once the run is at ``step``."""
    original = getattr(hook, method)

    def interrupted(self, runner, *args, **kwargs):
        original(self, runner, *args, **kwargs)
        if runner.iter >= step:
            raise StopError

    monkeypatch.setattr(hook, method, interrupted)


def signal_at(monkeypatch, step: int) -> None:
    """Send SIGTERM to this process, and to no other, in a step."""
    original = TrainingRecordHook.after_train_iter

    def sent(self, runner, *args, **kwargs):
        original(self, runner, *args, **kwargs)
        if runner.iter + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingRecordHook, "after_train_iter", sent)


@pytest.mark.parametrize(
    ("hook", "method", "step"),
    [
        (LastCheckpointHook, "save", 6),
        (TrainingRecordHook, "after_train_iter", 4),
        (TrainingRecordHook, "after_train_iter", 0),
    ],
    ids=["after an epoch", "inside an epoch", "at the first step"],
)
def test_a_resumed_run_ends_with_the_same_bits(
    aligned, whole, tmp_path, monkeypatch, hook, method, step
):
    out = tmp_path / "model"
    with monkeypatch.context() as patch:
        interrupt(patch, hook, method, step)
        with pytest.raises(StopError):
            run(aligned, out)
    assert not out.exists()
    assert (tmp_path / "model.work" / LastCheckpointHook.file_name).exists() == (step > 0)
    # Other code may use the global generators in between.
    torch.manual_seed(99)
    resumed = run(aligned, out)
    assert_equal(resumed, load_file(whole / "model.safetensors"))
    record = rows(out / "training.csv")
    assert without_time(record) == without_time(rows(whole / "training.csv"))


def test_a_resumed_run_does_not_repeat_finished_epochs(aligned, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt(patch, LastCheckpointHook, "save", 6)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model")
    capsys.readouterr()
    run(aligned, tmp_path / "model")
    printed = capsys.readouterr().out
    assert "epoch 3/3" in printed
    assert "epoch 1/3" not in printed


def test_with_other_parameters_or_data_training_begins_anew(aligned, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt(patch, LastCheckpointHook, "save", 6)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model")
    capsys.readouterr()
    optimizer = {"type": "SGD", "lr": 0.05}
    changed = run(aligned, tmp_path / "model", optimizer=optimizer)
    assert "epoch 1/3" in capsys.readouterr().out
    assert_equal(changed, run(aligned, tmp_path / "fresh", optimizer=optimizer))


def fingerprint(aligned, seed=0, head="lh2face", reconstructor=None, **changes):
    config = train.training_config(make_params(**changes), aligned, head, seed, reconstructor)
    return fingerprints.run_fingerprint(config, reconstructor)


def relabelled(aligned: Path, folder: Path) -> Path:
    """Write the same images with other labels; index and file have the same sizes."""
    folder.mkdir()
    reader = RecordReader(aligned / "train.rec")
    with RecordWriter(folder / "train.rec") as writer:
        for key in reader.keys:
            header, image = reader[key]
            writer.write(key, image, (identity(header) + 1) % PEOPLE)
    (folder / "property").write_bytes((aligned / "property").read_bytes())
    assert (folder / "train.idx").read_bytes() == (aligned / "train.idx").read_bytes()
    return folder


def test_the_fingerprint_depends_only_on_what_decides_the_result(aligned, tmp_path):
    base = fingerprint(aligned)
    assert fingerprint(aligned, workers=2) == base
    for change in ({"seed": 1}, {"head": "cosface"}, {"epochs": 4}, {"batch_size": 9}):
        assert fingerprint(aligned, **change) != base, change
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in aligned.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert fingerprint(moved) == base
    lines = (aligned / "train.idx").read_text().splitlines()[:-1]
    (moved / "train.idx").write_text("\n".join(lines) + "\n")
    assert fingerprint(moved) != base


def test_fingerprint_follows_labels_versions_code_and_the_reconstructor(
    aligned, fitted, tmp_path, monkeypatch
):
    base = fingerprint(aligned)
    other = fingerprint(relabelled(aligned, tmp_path / "other"))
    assert fingerprints.changes(base, other) == ["data.train.rec"]
    assert fingerprints.changes(base, fingerprint(aligned, seed=1)) == [
        "parameters.randomness.seed"
    ]

    joint = fingerprint(aligned, reconstructor=fitted)
    tuned = tmp_path / "tuned"
    shutil.copytree(fitted, tuned)
    weights = load_file(tuned / "reconstructor.safetensors")
    save_file(
        {name: value + 1 for name, value in weights.items()}, tuned / "reconstructor.safetensors"
    )
    assert fingerprints.changes(joint, fingerprint(aligned, reconstructor=tuned)) == [
        "reconstructor"
    ]

    with monkeypatch.context() as patch:
        version = fingerprints.version
        patch.setattr(fingerprints, "version", lambda name: version(name) + "+" * (name == "torch"))
        assert fingerprints.changes(base, fingerprint(aligned)) == ["versions.torch"]

    copy = tmp_path / "lh2face"
    shutil.copytree(fingerprints.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("heads/cosface.py", "report/table.py"):
        with (copy / name).open("a") as file:
            file.write("# changed\n")
    monkeypatch.setattr(fingerprints, "PACKAGE", copy)
    found = fingerprints.code_digests({})
    assert fingerprints.changes(base["code"], found) == ["heads/cosface.py"]


def test_the_digest_of_the_code_covers_every_module_of_training():
    modules = "lh2face.register, lh2face.stages.train, lh2face.artifacts.model"
    listing = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True)
    parts = [name.split(".")[1:2] for name in done.stdout.split() if name.startswith("lh2face.")]
    loaded = {part[0] for part in parts}
    assert {"heads", "distributed", "stages"} <= loaded
    assert not loaded & {Path(name).stem for name in fingerprints.NOT_IN_TRAINING}


def as_sources(aligned: Path, folder: Path, origins: dict[str, str]) -> Path:
    """Write the images into two sources, each with half of the people, person by person."""
    reader = RecordReader(aligned / "train.rec")
    people = [[k for k in reader.keys if identity(reader[k][0]) == p] for p in range(PEOPLE)]
    parts = dict(zip(origins, (people[:2], people[2:]), strict=True))
    for name, part in parts.items():
        (folder / name).mkdir(parents=True)
        with RecordWriter(folder / name / "train.rec") as writer:
            rows = [(label, key) for label, keys in enumerate(part) for key in keys]
            for number, (label, key) in enumerate(rows):
                writer.write(number, reader[key][1], label)
        records_at = Manifest(
            origins[name], ".", True, len(rows), len(part), 0, "",
            records_digest(folder / name),
        )  # fmt: skip
        write_manifest(folder / name, records_at)
    return folder


def test_several_sources_train_like_one_file_of_the_same_faces(aligned, tmp_path):
    """Weights agree bit for bit, and the model records the origin of its faces."""
    joined = as_sources(aligned, tmp_path / "joined", {"a": "synthetic", "b": "photos"})
    (tmp_path / "one").mkdir()
    before = 0
    with RecordWriter(tmp_path / "one" / "train.rec") as writer:
        for name, people in (("a", 2), ("b", 3)):
            reader = RecordReader(joined / name / "train.rec")
            for key in reader.keys:
                label = before + identity(reader[key][0])
                writer.write(label * 100 + int(key), reader[key][1], label)
            before += people
    assert_equal(
        run(joined, tmp_path / "model", epochs=1, sources="ab"),
        run(tmp_path / "one", tmp_path / "m", epochs=1),
    )
    made = {
        name: read_description(tmp_path / name)["provenance"] for name in ("model", "m")
    }  # fmt: skip
    assert made["model"]["params"]["source"] == "mixed: photos and synthetic"
    counted = {"identities": 2, "images": 2 * IMAGES, "left_out": 0, "origin": "synthetic"}
    assert made["model"]["params"]["sources"]["a"] == counted
    assert set(made["model"]["params"]["sources"]) == {"a", "b"}
    assert made["m"]["params"]["source"] == "of unknown origin"
    assert made["m"]["params"]["sources"] == {}
    assert made["model"]["data"] == {n: records_digest(joined / n) for n in ("a", "b")}
    run(joined / "b", tmp_path / "b", epochs=1)
    made = read_description(tmp_path / "b")["provenance"]
    assert made["params"]["source"] == "photos"
    assert made["data"] == {"b": records_digest(joined / "b")}


def test_the_fingerprint_follows_every_source(aligned, tmp_path):
    joined = as_sources(aligned, tmp_path / "joined", {"a": "photos", "b": "photos"})
    base = fingerprint(joined, sources="ab")
    manifest = read_manifest(joined / "b")
    write_manifest(joined / "b", dataclasses.replace(manifest, digest="0" * 64))
    assert fingerprints.changes(base, fingerprint(joined, sources="ab")) == ["data.b"]
    write_manifest(joined / "b", manifest)
    assert fingerprint(joined, sources="ab") == base
    (joined / "b").rename(joined / "c")
    changed = fingerprints.changes(base, fingerprint(joined, sources="ac"))
    assert changed == ["data.b", "data.c"]


def test_the_folder_of_a_removed_source_is_ignored(aligned, tmp_path):
    """The folder stays when ``params.yaml`` names other sources."""
    joined = as_sources(aligned, tmp_path / "joined", {"a": "synthetic", "b": "photos"})
    run(joined, tmp_path / "model", sources="b", epochs=1)
    made = read_description(tmp_path / "model")["provenance"]
    assert made["data"].keys() == made["params"]["sources"].keys() == {"b"}
    assert made["params"]["source"] == "photos"
    with pytest.raises(ManifestError, match=r"joined/c: there is no manifest"):
        run(joined, tmp_path / "other", sources="bc", epochs=1)


def test_the_digest_of_the_code_covers_classes_of_the_user(tmp_path, monkeypatch):
    path = tmp_path / "my_head.py"
    path.write_text("class MyHead:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    my_head = importlib.import_module("my_head")
    monkeypatch.setitem(MODELS.module_dict, "MyHead", my_head.MyHead)
    config = {"type": "FaceRecognizer", "head": {"type": "ShardedHead", "head": {"type": "MyHead"}}}
    before = fingerprints.code_digests(config)
    path.write_text("class MyHead:\n    margin = 0.5\n")
    assert fingerprints.changes(before, fingerprints.code_digests(config)) == ["MyHead"]


def test_with_other_labels_training_begins_again_and_says_so(
    aligned, tmp_path, monkeypatch, capsys
):
    records = tmp_path / "records"
    shutil.copytree(aligned, records)
    with monkeypatch.context() as patch:
        interrupt(patch, TrainingRecordHook, "after_train_iter", 4)
        with pytest.raises(StopError):
            run(records, tmp_path / "model")
    shutil.rmtree(records)
    relabelled(aligned, records)
    capsys.readouterr()
    again = run(records, tmp_path / "model", epochs=1)
    printed = capsys.readouterr().out
    # The number of epochs differs too, and with it the schedule.
    assert (
        "model.work: training begins again, these changed: data.train.rec, parameters." in printed
    )
    assert_equal(again, run(records, tmp_path / "fresh", epochs=1))


PRINT = {"data": {"train.rec": "1"}, "versions": {"torch": "2"}}


def test_only_files_of_training_are_removed_from_a_work_directory(tmp_path, capsys):
    work_folder.prepare_work_dir(tmp_path, PRINT, 1)
    ours = ["training.csv", "last.pth", "before.pth", "last.pth.new", "20260101_000000/vis"]
    for name in ours:
        (tmp_path / name).mkdir(parents=True) if "/" in name else (tmp_path / name).touch()
    work_folder.prepare_work_dir(tmp_path, PRINT, 1)
    assert (tmp_path / "last.pth").exists()
    assert capsys.readouterr().out == ""
    changed = {**PRINT, "data": {"train.rec": "2"}}
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"holds what no training wrote: notes\.txt; move it"):
        work_folder.prepare_work_dir(tmp_path, changed, 1)
    assert len([*tmp_path.iterdir()]) == len(ours) + 2
    (tmp_path / "notes.txt").unlink()
    capsys.readouterr()
    work_folder.prepare_work_dir(tmp_path, changed, 1)
    assert "training begins again, these changed: data.train.rec\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [work_folder.FINGERPRINT]


def test_a_folder_without_a_fingerprint_is_the_users(tmp_path):
    (tmp_path / "last.pth").touch()
    with pytest.raises(ValueError, match=r"holds what no training wrote: last\.pth; move it"):
        work_folder.prepare_work_dir(tmp_path, PRINT, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pth"]


@pytest.mark.parametrize("torn", [b"", b"[]", b"{", b"\xff"])
def test_with_a_damaged_fingerprint_training_begins_again(tmp_path, torn):
    work_folder.prepare_work_dir(tmp_path, PRINT, 1)
    (tmp_path / "last.pth").touch()
    (tmp_path / work_folder.FINGERPRINT).write_bytes(torn)
    work_folder.prepare_work_dir(tmp_path, PRINT, 1)
    assert [path.name for path in tmp_path.iterdir()] == [work_folder.FINGERPRINT]


def test_another_number_of_processes_is_reported(tmp_path, capsys):
    work_folder.prepare_work_dir(tmp_path, PRINT, 2)
    (tmp_path / "last.dcp").mkdir()
    work_folder.prepare_work_dir(tmp_path, PRINT, 1)
    assert (
        "training goes on; number of processes: 1, before: 2; each step" in capsys.readouterr().out
    )
    assert (tmp_path / "last.dcp").exists()


def bad_step(monkeypatch, step: int, change) -> None:
    """Replace the loss terms of one step by ``change(terms, model)``."""
    original, calls = FaceRecognizer.recognition_loss, []

    def recognition_loss(self, embeddings, labels):
        terms = original(self, embeddings, labels)
        calls.append(1)
        return change(terms, self) if len(calls) == step else terms

    monkeypatch.setattr(FaceRecognizer, "recognition_loss", recognition_loss)


def nan_loss(terms, model):
    return {name: term * (torch.nan if "loss" in name else 1) for name, term in terms.items()}


def nan_gradient(terms, model):
    """Return a term of 0 whose gradient is 0 · ∞."""
    weight = next(model.parameters())
    return {**terms, "loss_zero": (0 * weight.flatten()[0]).sqrt()}


@pytest.mark.parametrize("step", [9, 5], ids=["last step", "inside"])
@pytest.mark.parametrize(
    ("change", "what"),
    [(nan_loss, "the loss is nan"), (nan_gradient, "the norm of the gradients is nan")],
)
def test_a_step_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    aligned, whole, tmp_path, monkeypatch, change, what, step
):
    out = tmp_path / "model"
    with monkeypatch.context() as patch:
        bad_step(patch, step, change)
        with pytest.raises(NonFiniteError) as stopped:
            run(aligned, out)
    words = str(stopped.value)
    assert re.match(rf"training stopped at step {step}, learning rate \S+: {what}; last", words)
    assert f"last finite statistics: step {step - 1}, " in words and "mean_kappa" in words
    assert "\n" not in words and "nan," not in words
    assert not out.exists()
    checkpoint = tmp_path / "model.work" / LastCheckpointHook.file_name
    assert torch.load(checkpoint)["meta"]["iter"] == (step - 1) // 3 * 3
    # Without the fault, the run goes on from the finite checkpoint.
    assert_equal(run(aligned, out), load_file(whole / "model.safetensors"))


@pytest.mark.parametrize("head", ["lh2face", "sharded"])
def test_weights_that_are_not_finite_are_never_written(aligned, tmp_path, monkeypatch, head):
    original = TrainingRecordHook.after_train_iter

    def spoil(self, runner, *args, **kwargs):
        original(self, runner, *args, **kwargs)
        if runner.iter == 5:
            buffers = dict(runner.model.named_buffers())
            next(b for name, b in buffers.items() if "running_var" in name)[0] = torch.inf

    monkeypatch.setattr(TrainingRecordHook, "after_train_iter", spoil)
    found = r"stopped at step 6, .*running_var held NaN or infinity; last finite statistics: step 6"
    with pytest.raises(NonFiniteError, match=found):
        run(aligned, tmp_path / "model", head=head)
    (checkpoint,) = (tmp_path / "model.work").glob("last.*")
    keeper = LastCheckpointHook if head == "lh2face" else ShardedCheckpointHook
    assert keeper.is_whole(checkpoint)
    assert not (tmp_path / "model").exists()


def test_checkpoints_do_not_grow_with_the_history(aligned, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, TrainingRecordHook, "after_train_iter", 20)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model", batch_size=2)
    hub = torch.load(tmp_path / "model.work" / "last.pth")["message_hub"]
    lengths = {name: len(buffer.data[0]) for name, buffer in hub["log_scalars"].items()}
    assert {"train/loss", "train/grad_norm", "train/lr", "train/time"} <= lengths.keys()
    # The learning rate is recorded before the checkpoint is written.
    assert max(lengths.values()) == 2


def test_an_interrupted_write_leaves_the_previous_checkpoint(
    aligned, whole, tmp_path, monkeypatch, capsys
):
    from mmengine.runner import Runner

    save = Runner.save_checkpoint

    def torn(self, out_dir, filename, **kwargs):
        save(self, out_dir, filename, **kwargs)
        if self.epoch == 2:
            path = Path(out_dir, filename)
            path.write_bytes(path.read_bytes()[:1000])
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "save_checkpoint", torn)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model")
    capsys.readouterr()
    resumed = run(aligned, tmp_path / "model")
    printed = capsys.readouterr().out
    assert "damaged" not in printed and "epoch 1/3" not in printed
    assert_equal(resumed, load_file(whole / "model.safetensors"))


@pytest.mark.faults
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("head", "kills"), [("lh2face", 20), ("sharded", 20)])
def test_a_run_killed_many_times_ends_with_the_same_bits(aligned, tmp_path, head, kills):
    script = Path(__file__).with_name("kill_training.py")
    done = subprocess.run(
        [sys.executable, script, aligned, tmp_path / "model", head, str(kills)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed_writing"] >= kills // 2 and found["steps"] == 375
    assert found["inside"] >= kills // 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = run(aligned, tmp_path / "whole", head=head, epochs=25, batch_size=2)
    torch.set_num_threads(threads)
    assert_equal(load_file(tmp_path / "model" / "model.safetensors"), whole)
    record = rows(tmp_path / "model" / "training.csv")
    assert without_time(record) == without_time(rows(tmp_path / "whole" / "training.csv"))


def cut(checkpoint: Path) -> None:
    """Truncate the largest file of a checkpoint."""
    largest = max([checkpoint, *checkpoint.rglob("*")], key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])


@pytest.mark.parametrize("head", ["lh2face", pytest.param("sharded", marks=pytest.mark.faults)])
def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_used(
    aligned, tmp_path, monkeypatch, capsys, head
):
    def interrupted(damage: list[str]) -> str:
        with monkeypatch.context() as patch:
            interrupt(patch, TrainingRecordHook, "after_train_iter", 7)
            with pytest.raises(StopError):
                run(aligned, tmp_path / "model", head=head)
        for name in damage:
            cut(work / f"{name}.{kind}")
        capsys.readouterr()
        assert_equal(run(aligned, tmp_path / "model", head=head), whole)
        return capsys.readouterr().out

    whole = run(aligned, tmp_path / "whole", head=head)
    work, kind = tmp_path / "model.work", "pth" if head == "lh2face" else "dcp"
    printed = interrupted(["last"])
    line = f"last.{kind}: damaged or cut short; training goes on from before.{kind}"
    assert f"{work}/{line}" in printed and "epoch 2/3" in printed and "epoch 1/3" not in printed
    printed = interrupted(["last", "before"])
    assert line in printed and "epoch 1/3" in printed
    assert f"{work}/before.{kind}: damaged or cut short; training begins again" in printed


def test_two_runs_in_one_folder_exclude_each_other(aligned, tmp_path):
    with (
        exclusive(tmp_path / "model.work"),
        pytest.raises(ValueError, match=rf"model\.work: process {os.getpid()} on \S+ works here"),
    ):
        run(aligned, tmp_path / "model")
    run(aligned, tmp_path / "model", epochs=1)


def test_an_empty_record_of_a_killed_run_is_tolerated(tmp_path):
    (tmp_path / "training.csv").touch()
    drop_rows(tmp_path / "training.csv", 0)
    assert not (tmp_path / "training.csv").exists()


@pytest.mark.parametrize("head", ["arcface", "cosface"])
def test_every_head_trains(aligned, tmp_path, head):
    run(aligned, tmp_path / "model", head=head, epochs=1)
    record = rows(tmp_path / "model" / "training.csv")[0]
    assert float(record["loss"]) == pytest.approx(float(record["loss_head"]))
    assert float(record["mean_kappa"]) > 0


@pytest.mark.parametrize("fusion", ["none", "canonical_depth"])
def test_joint_training_tunes_the_reconstructor_slowly(aligned, fitted, tmp_path, fusion):
    out = tmp_path / "model"
    weights = run(aligned, out, reconstructor=fitted, joint={"fusion": fusion})
    record = rows(out / "training.csv")[0]
    terms = ("loss_vmf", "loss_canon", "loss_reco", "loss_view")
    assert all(np.isfinite(float(record[name])) for name in terms)
    # Tuning moves the fitted weights only a little; the recognizer's rate would move them far.
    before = load_file(fitted / "reconstructor.safetensors")
    name = max(before, key=lambda key: before[key].numel())
    after = weights[f"reconstructor.{name}"]
    assert not torch.equal(after, before[name])
    assert (after - before[name]).norm() < 0.01 * before[name].norm()
    model = load_model(out)
    assert model.fusion == fusion
    assert model(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 16)


def test_a_resumed_joint_run_ends_with_the_same_bits(aligned, fitted, tmp_path, monkeypatch):
    whole = run(aligned, tmp_path / "whole", reconstructor=fitted, epochs=2)
    with monkeypatch.context() as patch:
        interrupt(patch, LastCheckpointHook, "save", 3)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model", reconstructor=fitted, epochs=2)
    assert_equal(run(aligned, tmp_path / "model", reconstructor=fitted, epochs=2), whole)


def test_a_resumed_run_with_sharded_classes_ends_with_the_same_bits(aligned, tmp_path, monkeypatch):
    whole = run(aligned, tmp_path / "whole", head="sharded")
    with monkeypatch.context() as patch:
        interrupt(patch, TrainingRecordHook, "after_train_iter", 4)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model", head="sharded")
    checkpoint = tmp_path / "model.work" / ShardedCheckpointHook.file_name
    assert checkpoint.is_dir()
    assert_equal(run(aligned, tmp_path / "model", head="sharded"), whole)
    assert not checkpoint.exists()
    record = rows(tmp_path / "model" / "training.csv")
    assert [row["step"] for row in record] == ["3", "6", "9"]


def test_bad_requests_are_named_and_leave_no_output(aligned, tmp_path):
    with pytest.raises(ValueError, match=r"head: expected one of .*'cosface'.*, found 'arkface'"):
        run(aligned, tmp_path / "model", head="arkface")
    with pytest.raises(ValueError, match=r"train: .*batch_size: 31 is more than the 30 images"):
        run(aligned, tmp_path / "model", batch_size=31)
    assert not list(tmp_path.iterdir())


def test_records_of_one_person_are_refused(aligned, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    reader = RecordReader(aligned / "train.rec")
    with RecordWriter(records / "train.rec") as writer:
        for number, key in enumerate(image_keys(reader)):
            writer.write(number, reader[key][1], 0)
    (records / "property").write_text(f"1,{SIZE},{SIZE}")
    with pytest.raises(ValueError, match=r"records: training needs .* at least 2 people, found 1"):
        run(records, tmp_path / "model")
    assert not (tmp_path / "model.work").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: shutil.rmtree(f),
            r"model\.json: no such file; .* stage fit3d",
        ),
        (lambda f: (f / "model.json").write_text("[1]"), r"model\.json: expected a JSON object"),
        (
            lambda f: (f / "model.json").write_text('{"recognizer": {}}'),
            r"model\.json: reconstructor",
        ),
        (
            lambda f: (f / "reconstructor.safetensors").unlink(),
            r"reconstructor\.safetensors: no such",
        ),
        (lambda f: (f / "reconstructor.safetensors").write_bytes(b"x"), r"damaged or cut short"),
        (
            lambda f: save_file({}, f / "reconstructor.safetensors"),
            r"weights do not fit .* is missing",
        ),
    ],
)
def test_a_folder_without_a_reconstructor_is_refused(aligned, fitted, tmp_path, spoil, message):
    folder = tmp_path / "fit3d"
    shutil.copytree(fitted, folder)
    spoil(folder)
    with pytest.raises(ValueError, match=message) as refused:
        run(aligned, tmp_path / "model", reconstructor=folder)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "model.work").exists()


def test_the_config_can_be_inherited(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = {str(RECOGNITION)!r}\nmodel = dict(head=dict(num_classes=7))\n")
    assert MODELS.build(Config.fromfile(path).model).head.proxies.weight.shape == (7, 512)


def train_in_one(aligned: Path, out: Path, head: str, what: str, epochs: int, batch: int) -> None:
    """Train in one of several processes, as the command does, with the fault ``what``."""

    class Patch:
        setattr = staticmethod(setattr)

    if what == "interrupt":
        interrupt(Patch, TrainingRecordHook, "after_train_iter", 7)
    if what == "sigterm" and os.environ["RANK"] == "1":
        signal_at(Patch, 4)
    if what == "nan" and os.environ["RANK"] == "1":
        bad_step(Patch, 5, nan_loss)
    cli.app = lambda: run(aligned, out, head, epochs=epochs, batch_size=batch)
    cli.main()


def srun(world: int) -> list[dict[str, object]]:
    """Return the environment that Slurm would set for each process, plus that of ``places``."""
    names = {"NTASKS": world, "STEP_NUM_TASKS": world, "NODELIST": "here"}
    found = []
    for rank, place in enumerate(places(world)):
        of_slurm = {**names, "PROCID": rank, "LOCALID": rank}
        found.append({key: place[key] for key in ("MASTER_ADDR", "MASTER_PORT")})
        found[-1] |= {f"SLURM_{name}": value for name, value in of_slurm.items()}
    return found


def two_processes(
    aligned, out, head="lh2face", what="train", *, epochs=3, batch=8, launcher=places
) -> tuple[list[int], list[str]]:
    """Train in two processes; return their exit codes and output."""
    return in_processes(
        out.parent, launcher(2), train_in_one, aligned, out, head, what, epochs, batch
    )


@pytest.mark.parametrize(
    ("head", "launcher"),
    [
        ("sharded", srun),
        pytest.param("lh2face", srun, marks=pytest.mark.faults),
        pytest.param("sharded", places, marks=pytest.mark.faults),
        pytest.param("lh2face", places, marks=pytest.mark.faults),
    ],
)
def test_two_processes_train_one_model(aligned, tmp_path, head, launcher):
    codes, printed = two_processes(aligned, tmp_path / "model", head, epochs=2, launcher=launcher)
    assert codes == [0, 0], printed
    record = rows(tmp_path / "model" / "training.csv")
    assert [row["step"] for row in record] == ["3", "6"]
    assert "epoch 2/2" in printed[0]
    assert "epoch" not in printed[1]


def test_a_nan_in_one_of_two_processes_ends_both_with_one_line(aligned, tmp_path):
    codes, printed = two_processes(aligned, tmp_path / "model", what="nan")
    assert codes == [1, 1], printed
    assert "Traceback" not in "".join(printed)
    lines = [line for text in printed for line in text.splitlines() if "lh2face: " in line]
    assert len(lines) == 1
    assert lines[0].startswith("lh2face: training stopped at step 5, learning rate ")
    assert LastCheckpointHook.is_whole(tmp_path / "model.work" / "last.pth")


@pytest.mark.parametrize("head", ["lh2face", pytest.param("sharded", marks=pytest.mark.faults)])
def test_sigterm_to_one_of_two_processes_ends_both_and_training_resumes(
    aligned, tmp_path, capsys, head
):
    codes, printed = two_processes(aligned, tmp_path / "model", head, what="sigterm", batch=4)
    assert codes == [143, 143], printed
    assert "Traceback" not in "".join(printed)
    line = "SIGTERM: checkpoint written at step 4 of 21; the same command goes on from there"
    assert "".join(printed).count(line) == printed[0].count(line) == 1
    assert not (tmp_path / "model").exists()
    run(aligned, tmp_path / "model", head=head, batch_size=4)
    shown = capsys.readouterr().out
    assert "training goes on; number of processes: 1, before: 2; each step" in shown
    assert "training: 5/21" in shown and "training: 4/21" not in shown
    record = rows(tmp_path / "model" / "training.csv")
    assert [row["step"] for row in record] == ["7", "14", "21"]


def test_a_batch_that_is_not_divisible_by_the_processes_is_refused(aligned, tmp_path):
    codes, printed = two_processes(aligned, tmp_path / "model", batch=9)
    assert codes == [1, 1], printed
    expected = (
        "train: train_dataloader.batch_size: 9 images cannot be divided evenly over 2 processes"
    )
    assert printed == [f"lh2face: {expected}\n", ""]
    assert not (tmp_path / "model.work").exists()


@pytest.mark.parametrize("head", ["sharded", pytest.param("lh2face", marks=pytest.mark.faults)])
def test_one_process_resumes_a_run_of_two(aligned, tmp_path, capsys, head):
    codes, printed = two_processes(aligned, tmp_path / "model", head, "interrupt")
    assert codes == [1, 1] and "StopError" in printed[0]
    before = rows(tmp_path / "model.work" / "training.csv")[:2]
    run(aligned, tmp_path / "model", head=head)
    told = capsys.readouterr().out
    assert "training goes on; number of processes: 1, before: 2; each step" in told
    assert "epoch 3/3" in told and "epoch 2/3" not in told
    record = rows(tmp_path / "model" / "training.csv")
    assert [row["step"] for row in record] == ["3", "6", "9"] and record[:2] == before


def test_a_warm_up_shorter_than_a_step_is_named(aligned, tmp_path):
    expected = r"train: param_scheduler\.0, with 3 steps per epoch: end should be larger than begin"
    with pytest.raises(ValueError, match=f"^{expected}"):
        run(aligned, tmp_path / "model", **{"param_scheduler.0.end": 0.1})
    assert not (tmp_path / "model").exists()
