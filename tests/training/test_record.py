"""A run records each step on disk, and stops at values that are not finite."""

import csv
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper

from lh2face.artifacts.training_record import drop_rows, record_row
from lh2face.distributed.finite import NonFiniteError
from lh2face.training import record as recording
from lh2face.training.record import TrainingRecordHook, check_step


def write(path: Path, steps: range) -> None:
    for step in steps:
        record_row(path, {"step": step, "loss": step / 3})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_after_the_checkpoint_and_a_torn_row_are_dropped(tmp_path):
    path = tmp_path / "training.csv"
    write(path, range(1, 6))
    with path.open("a") as file:
        file.write("6")
    drop_rows(path, 3)
    assert [row["step"] for row in read(path)] == ["1", "2", "3"]
    write(path, range(4, 6))
    assert [row["step"] for row in read(path)] == ["1", "2", "3", "4", "5"]
    assert read(path)[0]["loss"] == "0.333333"


def test_a_run_that_begins_anew_begins_its_record_anew(tmp_path):
    path = tmp_path / "training.csv"
    drop_rows(path, 0)
    write(path, range(1, 3))
    drop_rows(path, 0)
    assert not path.exists()


def test_only_the_main_process_touches_the_record(tmp_path, monkeypatch):
    """Several processes would rename the same file, and only the first would find it."""
    write(tmp_path / "training.csv", range(1, 6))
    before = (tmp_path / "training.csv").read_bytes()
    monkeypatch.setattr(recording, "is_main_process", lambda: False)
    TrainingRecordHook().before_train(Recorded(tmp_path))
    assert (tmp_path / "training.csv").read_bytes() == before


class Recorded:
    """The part of a runner that the record needs."""

    backends: ClassVar[dict] = {}
    iter, epoch, max_iters, max_epochs, train_dataloader = 0, 0, 4, 1, range(4)

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self.message_hub = MessageHub.get_instance(str(work_dir))
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        self.optim_wrapper = OptimWrapper(optimizer, clip_grad={"max_norm": 5.0})
        self.visualizer = SimpleNamespace(
            add_scalars=lambda *_, **__: None, close=lambda: None, _vis_backends=self.backends
        )


def record(tmp_path: Path, monkeypatch, losses: list[float], processes: int = 1) -> list[dict]:
    """Record a step of 10 images for each loss, two seconds apart, and return the rows."""
    clock = itertools.count(0, 2)
    monkeypatch.setattr(recording.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(recording, "get_world_size", lambda: processes)
    hook, runner = TrainingRecordHook(interval=2), Recorded(tmp_path)
    hook.before_train(runner)
    for step, loss in enumerate(losses):
        runner.iter = step
        runner.message_hub.update_scalar("train/loss", loss)
        data = {"inputs": torch.zeros(10, 1)}
        hook.after_train_iter(runner, step, data, {"loss": torch.tensor(loss)})
    hook.after_train(runner)
    assert len(runner.message_hub.get_scalar("train/loss").data[0]) == 1
    return read(tmp_path / "training.csv")


@pytest.mark.parametrize(("processes", "rate"), [(1, "5"), (3, "15")])
def test_images_per_second_count_the_batch_of_all_processes(tmp_path, monkeypatch, processes, rate):
    rows = record(tmp_path, monkeypatch, [1.0, 3.0, 5.0, 6.0], processes)
    assert [(row["step"], row["loss"]) for row in rows] == [("2", "2"), ("4", "5.5")]
    assert [row["images_per_second"] for row in rows] == [rate, rate]


def test_each_row_is_on_disk_before_the_next_step(tmp_path, monkeypatch):
    """A killed process would lose rows that TensorBoard's writer still has in memory."""
    flushed = []
    backend = SimpleNamespace(experiment=SimpleNamespace(flush=lambda: flushed.append(1)))
    monkeypatch.setattr(Recorded, "backends", {"board": backend})
    assert len(record(tmp_path, monkeypatch, [1.0, 3.0, 5.0, 6.0])) == len(flushed) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_named(tmp_path, monkeypatch, value):
    expected = (
        rf"stopped at step 3, learning rate 0\.5: the loss is {value}; "
        r"last finite statistics: step 2, loss 1\.5; the last checkpoint is kept"
    )
    with pytest.raises(NonFiniteError, match=expected):
        record(tmp_path, monkeypatch, [1.0, 1.5, value])
    assert len(read(tmp_path / "training.csv")) == 1


def test_gradients_may_overflow_while_the_loss_is_scaled(tmp_path):
    runner = Recorded(tmp_path)
    runner.message_hub.update_scalar("train/grad_norm", float("inf"))
    with pytest.raises(NonFiniteError, match="the norm of the gradients is inf"):
        check_step(runner, {"loss": 1.0})
    runner.optim_wrapper.loss_scaler = SimpleNamespace(get_scale=lambda: 1.0)
    check_step(runner, {"loss": 1.0})
    runner.optim_wrapper.loss_scaler = SimpleNamespace(get_scale=lambda: 0.5)
    with pytest.raises(NonFiniteError, match=r"step 1, .*although the loss is scaled by 0\.5"):
        check_step(runner, {"loss": 1.0})
