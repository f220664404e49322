"""What the hooks draw, record, keep and refuse."""

import csv
import itertools
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper

from lh2face.distributed.finite import NonFiniteError
from lh2face.recognizers import hooks
from lh2face.recognizers.hooks import (
    LastCheckpointHook,
    SeedHook,
    TrainingRecordHook,
    append_row,
    drop_rows,
)


def write(path: Path, steps: range) -> None:
    for step in steps:
        append_row(path, {"step": step, "loss": step / 3})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_after_a_step_and_a_torn_one_are_dropped(tmp_path):
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


def test_every_epoch_step_and_rank_has_draws_of_its_own(monkeypatch):
    draws = []
    for rank in (0, 1):
        monkeypatch.setattr(hooks, "get_rank", lambda rank=rank: rank)
        for seed, step in [(0, 0), (0, 1), (1, 0)]:
            for method in ("before_train_epoch", "before_train_iter"):
                runner = SimpleNamespace(seed=seed, iter=step)
                getattr(SeedHook(), method)(runner, *([0] if "iter" in method else []))
                draws.append((torch.rand(()).item(), float(np.random.rand()), random.random()))
    for values in zip(*draws, strict=True):
        assert len(set(values)) == len(draws)
    SeedHook().before_train_iter(SimpleNamespace(seed=0, iter=1), 0)
    monkeypatch.setattr(hooks, "get_rank", lambda: 0)
    SeedHook().before_train_iter(SimpleNamespace(seed=0, iter=1), 0)
    assert torch.rand(()).item() == draws[3][0]


class Recorded:
    """As much of a runner as the record of a run needs."""

    iter, epoch, max_iters, max_epochs, train_dataloader = 0, 0, 4, 1, range(4)

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self.message_hub = MessageHub.get_instance(str(work_dir))
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        self.optim_wrapper = OptimWrapper(optimizer, clip_grad={"max_norm": 5.0})
        self.visualizer = SimpleNamespace(add_scalars=lambda *_, **__: None, close=lambda: None)


def record(tmp_path: Path, monkeypatch, losses: list[float], processes: int = 1) -> list[dict]:
    """Rows after one step of 10 images for each loss, two seconds apart."""
    clock = itertools.count(0, 2)
    monkeypatch.setattr(hooks.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(hooks, "get_world_size", lambda: processes)
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


@pytest.mark.parametrize(("processes", "rate"), [(1, "10"), (3, "30")])
def test_images_per_second_count_the_batch_of_all_processes(tmp_path, monkeypatch, processes, rate):
    rows = record(tmp_path, monkeypatch, [1.0, 3.0, 5.0, 6.0], processes)
    assert [(row["step"], row["loss"]) for row in rows] == [("2", "2"), ("4", "5.5")]
    assert [row["images_per_second"] for row in rows] == [rate, rate]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_named(tmp_path, monkeypatch, value):
    expected = (
        rf"stopped at step 3, learning rate 0\.5: the loss is {value}; "
        r"last finite statistics: step 2, loss 1\.5; the last checkpoint is kept"
    )
    with pytest.raises(NonFiniteError, match=expected):
        record(tmp_path, monkeypatch, [1.0, 1.5, value])
    assert len(read(tmp_path / "training.csv")) == 1


def test_a_loss_scaler_may_try_gradients_that_overflow(tmp_path):
    runner = Recorded(tmp_path)
    runner.message_hub.update_scalar("train/grad_norm", float("inf"))
    with pytest.raises(NonFiniteError, match="the norm of the gradients is inf"):
        hooks.check_step(runner, {"loss": 1.0})
    runner.optim_wrapper.loss_scaler = None
    hooks.check_step(runner, {"loss": 1.0})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A small checkpoint as mmengine writes them."""
    path = tmp_path_factory.mktemp("checkpoint") / "last.pth"
    state = {"weight": torch.arange(40.0), "bias": torch.ones(3)}
    torch.save({"meta": {"iter": 3}, "state_dict": state, "message_hub": {}}, path)
    return path


def test_no_damage_raises_and_what_passes_has_the_same_content(checkpoint, tmp_path):
    whole, expected = checkpoint.read_bytes(), torch.load(checkpoint)
    assert LastCheckpointHook.is_whole(checkpoint)
    damaged, rng, passed = tmp_path / "last.pth", random.Random(0), 0
    for _ in range(1500):
        content = bytearray(whole)
        place = rng.randrange(len(content))
        kind = rng.randrange(4)
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            length = rng.randrange(1, 64)
            content[place : place + length] = rng.randbytes(length)
        else:
            content[place : place + 512] = bytes(len(content[place : place + 512]))
        damaged.write_bytes(content)
        if LastCheckpointHook.is_whole(damaged):
            passed += 1
            found = torch.load(damaged)
            assert found["meta"] == expected["meta"]
            for name, value in expected["state_dict"].items():
                assert torch.equal(found["state_dict"][name], value)
    assert passed < 1500 / 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_no_run_can_go_on_from_are_no_checkpoint(checkpoint, tmp_path, value):
    content = torch.load(checkpoint)
    content["state_dict"]["weight"][7] = value
    torch.save(content, tmp_path / "last.pth")
    assert not LastCheckpointHook.is_whole(tmp_path / "last.pth")


@pytest.mark.parametrize("content", [{}, [1], {"meta": 1, "state_dict": {}}, torch.ones(1)])
def test_other_content_is_no_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / "last.pth")
    assert not LastCheckpointHook.is_whole(tmp_path / "last.pth")


def test_a_checkpoint_with_python_code_is_refused(tmp_path):
    """mmengine's resume runs ``meta["config"]``."""
    torch.save({"meta": {"config": "import os"}, "state_dict": {}}, tmp_path / "last.pth")
    assert not LastCheckpointHook.is_whole(tmp_path / "last.pth")
