"""Training: what it writes, and that an interruption changes nothing."""

import csv
import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file, save_file

from lh2face.artifacts.model import load_model, read_description
from lh2face.artifacts.outputs import MANIFEST, exclusive
from lh2face.configs import RECOGNITION
from lh2face.data.recordio import RecordWriter
from lh2face.distributed.hook import ShardedCheckpointHook
from lh2face.recognizers.hooks import LastCheckpointHook, TrainingRecordHook, drop_rows
from lh2face.registry import MODELS
from lh2face.stages import train
from lh2face.stages.params import load_params

ROOT = Path(__file__).resolve().parents[2]
PEOPLE, IMAGES, SIZE = 5, 6, 32
SHARDED = {"type": "ShardedHead", "head": {"type": "LH2FaceHead", "vmf_dim": 64}}
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
    """What stage ``fit3d`` leaves, untrained."""
    folder = tmp_path_factory.mktemp("fit3d")
    torch.manual_seed(5)
    save_file(MODELS.build(RECONSTRUCTOR).state_dict(), folder / "reconstructor.safetensors")
    (folder / "model.json").write_text(
        '{"reconstructor": {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}}'
    )
    return folder


def make_params(joint=None, **changes):
    small = {
        "backbone": {"type": "MobileFaceNet", "embedding_size": 16, "width": 0.25},
        "image_size": SIZE,
        "batch_size": 8,
        "epochs": 3,
        "warmup_epochs": 0.5,
        "workers": 0,
    }
    params = load_params(ROOT / "params.yaml")
    return params.model_copy(
        update={
            "train": params.train.model_copy(update={**small, **changes}),
            "joint": params.joint.model_copy(update=joint or {}),
            "heads": {**params.heads, "sharded": SHARDED},
        }
    )


def run(aligned, out, head="lh2face", seed=0, reconstructor=None, **changes):
    params = make_params(**changes)
    train.run(params, aligned, out, head=head, seed=seed, reconstructor=reconstructor)
    return load_file(out / "model.safetensors")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(records: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in records]


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def whole(aligned, tmp_path_factory) -> Path:
    """A run that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "model"
    run(aligned, out)
    return out


def test_writes_a_model_and_its_record(whole):
    written = {"model.safetensors", "model.json", "training.csv", MANIFEST}
    assert {p.name for p in whole.iterdir()} == written
    description = read_description(whole)
    assert (description["image_size"], description["embedding_size"]) == (SIZE, 16)
    made = description["provenance"]
    assert (made["params"]["head"]["name"], made["seed"], made["device"]) == ("lh2face", 0, "cpu")
    assert made["data"].keys() == {"property", "train.idx"}
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


def test_same_seed_same_model_other_seed_other_model(aligned, whole, tmp_path):
    again = run(aligned, tmp_path / "again")
    assert_equal(again, load_file(whole / "model.safetensors"))
    assert (tmp_path / "again" / "model.json").read_text() == (whole / "model.json").read_text()
    other = run(aligned, tmp_path / "other", seed=1)
    assert not torch.equal(other["backbone.stem.0.0.weight"], again["backbone.stem.0.0.weight"])


def test_workers_do_not_change_the_result(aligned, whole, tmp_path):
    assert_equal(run(aligned, tmp_path / "m", workers=2), load_file(whole / "model.safetensors"))


class StopError(Exception):
    """What stops a run in these tests."""


def interrupt(monkeypatch, hook: type, method: str, step: int) -> None:
    """Let a hook's method raise once the run is at ``step``."""
    original = getattr(hook, method)

    def interrupted(self, runner, *args, **kwargs):
        original(self, runner, *args, **kwargs)
        if runner.iter >= step:
            raise StopError

    monkeypatch.setattr(hook, method, interrupted)


@pytest.mark.parametrize(
    ("hook", "method", "step"),
    [
        (LastCheckpointHook, "after_train_epoch", 6),
        (TrainingRecordHook, "after_train_iter", 4),
        (TrainingRecordHook, "after_train_iter", 0),
    ],
    ids=["after an epoch", "inside an epoch", "at the first step"],
)
def test_resumed_run_ends_bit_for_bit_like_a_whole_one(
    aligned, whole, tmp_path, monkeypatch, hook, method, step
):
    out = tmp_path / "model"
    with monkeypatch.context() as patch:
        interrupt(patch, hook, method, step)
        with pytest.raises(StopError):
            run(aligned, out)
    assert not out.exists()
    assert (tmp_path / "model.work" / LastCheckpointHook.file_name).exists() == (step > 0)
    # What other code did to the generators in between must not matter.
    torch.manual_seed(99)
    resumed = run(aligned, out)
    assert_equal(resumed, load_file(whole / "model.safetensors"))
    record = rows(out / "training.csv")
    assert without_time(record) == without_time(rows(whole / "training.csv"))


def test_resumes_indeed(aligned, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt(patch, LastCheckpointHook, "after_train_epoch", 6)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model")
    capsys.readouterr()
    run(aligned, tmp_path / "model")
    printed = capsys.readouterr().out
    assert "epoch 3/3" in printed
    assert "epoch 1/3" not in printed


def test_other_parameters_or_data_begin_anew(aligned, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt(patch, LastCheckpointHook, "after_train_epoch", 6)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model")
    capsys.readouterr()
    optimizer = {"type": "SGD", "lr": 0.05}
    changed = run(aligned, tmp_path / "model", optimizer=optimizer)
    assert "epoch 1/3" in capsys.readouterr().out
    assert_equal(changed, run(aligned, tmp_path / "fresh", optimizer=optimizer))


def fingerprint(aligned, seed=0, head="lh2face", **changes):
    config = train.training_config(make_params(**changes), aligned, head, seed, None)
    return train.run_fingerprint(config, aligned, None)


def test_fingerprint_holds_what_decides_the_result_and_nothing_else(aligned, tmp_path):
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


def test_interrupted_writing_leaves_the_checkpoint_before(aligned, whole, tmp_path, monkeypatch):
    from mmengine.runner import Runner

    save = Runner.save_checkpoint

    def torn(self, out_dir, filename, **kwargs):
        save(self, out_dir, filename, **kwargs)
        if self.epoch == 1:
            path = Path(out_dir, filename)
            path.write_bytes(path.read_bytes()[:1000])
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "save_checkpoint", torn)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model")
    resumed = run(aligned, tmp_path / "model")
    assert_equal(resumed, load_file(whole / "model.safetensors"))


@pytest.mark.faults
@pytest.mark.parametrize(("head", "kills"), [("lh2face", 20), ("sharded", 8)])
def test_killed_again_and_again_it_ends_bit_for_bit_like_a_whole_run(
    aligned, tmp_path, head, kills
):
    script = Path(__file__).with_name("kill_training.py")
    done = subprocess.run(
        [sys.executable, script, aligned, tmp_path / "model", head, str(kills)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed_writing"] >= kills // 2 and found["epochs"] == 100
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = run(aligned, tmp_path / "whole", head=head, epochs=100)
    torch.set_num_threads(threads)
    assert_equal(load_file(tmp_path / "model" / "model.safetensors"), whole)
    record = rows(tmp_path / "model" / "training.csv")
    assert without_time(record) == without_time(rows(tmp_path / "whole" / "training.csv"))


@pytest.mark.parametrize("head", ["lh2face", "sharded"])
def test_a_checkpoint_cut_short_is_named_and_training_begins_again(
    aligned, tmp_path, monkeypatch, capsys, head
):
    with monkeypatch.context() as patch:
        interrupt(patch, TrainingRecordHook, "after_train_iter", 4)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model", head=head)
    (checkpoint,) = (tmp_path / "model.work").glob("last.*")
    largest = max([checkpoint, *checkpoint.rglob("*")], key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    capsys.readouterr()
    resumed = run(aligned, tmp_path / "model", head=head)
    printed = capsys.readouterr().out
    assert f"{checkpoint}: damaged or cut short; training begins again" in printed
    assert "epoch 1/3" in printed
    assert_equal(resumed, run(aligned, tmp_path / "whole", head=head))


def test_two_runs_into_one_folder_exclude_each_other(aligned, tmp_path):
    with (
        exclusive(tmp_path / "model.work"),
        pytest.raises(ValueError, match=rf"model\.work: process {os.getpid()} on \S+ works here"),
    ):
        run(aligned, tmp_path / "model")
    run(aligned, tmp_path / "model", epochs=1)


def test_a_record_that_a_kill_left_empty_does_not_stop_a_run(tmp_path):
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
def test_joint_training(aligned, fitted, tmp_path, fusion):
    out = tmp_path / "model"
    weights = run(aligned, out, reconstructor=fitted, joint={"fusion": fusion})
    record = rows(out / "training.csv")[0]
    terms = ("loss_vmf", "loss_canon", "loss_reco", "loss_view")
    assert all(np.isfinite(float(record[name])) for name in terms)
    # Tuning moves the fitted weights a little; the recognizer's own rate would move them far.
    before = load_file(fitted / "reconstructor.safetensors")
    name = max(before, key=lambda key: before[key].numel())
    after = weights[f"reconstructor.{name}"]
    assert not torch.equal(after, before[name])
    assert (after - before[name]).norm() < 0.01 * before[name].norm()
    model = load_model(out)
    assert model.fusion == fusion
    assert model(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 16)


def test_resumed_joint_run_ends_bit_for_bit_like_a_whole_one(
    aligned, fitted, tmp_path, monkeypatch
):
    whole = run(aligned, tmp_path / "whole", reconstructor=fitted, epochs=2)
    with monkeypatch.context() as patch:
        interrupt(patch, LastCheckpointHook, "after_train_epoch", 3)
        with pytest.raises(StopError):
            run(aligned, tmp_path / "model", reconstructor=fitted, epochs=2)
    assert_equal(run(aligned, tmp_path / "model", reconstructor=fitted, epochs=2), whole)


def test_resumed_run_with_sharded_classes_ends_like_a_whole_one(aligned, tmp_path, monkeypatch):
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


def test_bad_requests_are_named_and_leave_nothing(aligned, tmp_path):
    with pytest.raises(ValueError, match=r"head: expected one of .*'cosface'.*, found 'arkface'"):
        run(aligned, tmp_path / "model", head="arkface")
    with pytest.raises(ValueError, match=r"train\.batch_size: 31 is more than the 30 images"):
        run(aligned, tmp_path / "model", batch_size=31)
    assert not list(tmp_path.iterdir())


def test_learning_rate_warms_up_and_falls_to_zero():
    parameter = torch.nn.Parameter(torch.zeros(1))
    from mmengine.optim import OptimWrapper
    from mmengine.registry import PARAM_SCHEDULERS

    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.1))
    parts = [
        PARAM_SCHEDULERS.build(config, default_args={"optimizer": wrapper})
        for config in train.schedule(steps=20, warmup=5)
    ]
    rates = []
    for _ in range(20):
        rates.append(wrapper.get_lr()["lr"][0])
        wrapper.update_params(parameter.sum())
        for part in parts:
            part.step()
    assert rates[0] == pytest.approx(0.001)
    assert max(rates) == pytest.approx(0.1, rel=0.02)
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.002
    assert len(train.schedule(steps=20, warmup=0)) == 1


def test_config_can_be_inherited(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"_base_ = {str(RECOGNITION)!r}\nmodel = dict(head=dict(num_classes=7))\n")
    assert MODELS.build(Config.fromfile(path).model).head.proxies.weight.shape == (7, 512)


DISTRIBUTED = """
    import sys
    from pathlib import Path

    sys.path.insert(0, sys.argv[1])
    import test_train

    test_train.run(Path(sys.argv[2]), Path(sys.argv[3]), head=sys.argv[4], epochs=2)
"""


def torchrun(rank: int) -> dict[str, object]:
    return {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2}


def srun(rank: int) -> dict[str, object]:
    place = {"PROCID": rank, "LOCALID": rank, "NTASKS": 2, "STEP_NUM_TASKS": 2, "NODELIST": "here"}
    return {f"SLURM_{name}": value for name, value in place.items()}


@pytest.mark.parametrize(
    ("head", "launcher"), [("lh2face", torchrun), ("sharded", torchrun), ("lh2face", srun)]
)
def test_two_processes_train_one_model(aligned, tmp_path, head, launcher):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(DISTRIBUTED))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **launcher(rank)}
        environment = {"OMP_NUM_THREADS": 1, **place}
        processes.append(
            subprocess.Popen(
                [sys.executable, script, Path(__file__).parent, aligned, tmp_path / "model", head],
                env={**os.environ, **{k: str(v) for k, v in environment.items()}},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    record = rows(tmp_path / "model" / "training.csv")
    assert [row["step"] for row in record] == ["3", "6"]
    assert "epoch 2/2" in printed[0]
    assert "epoch" not in printed[1]
