"""Interrupted runs end like others, signals write checkpoints, and validation runs by steps."""

import csv
import os
import signal
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tiny_run import Act, StopError, die, make_runner, send, weights

KEEPERS = ["lh2face", "sharded"]


def rows(work_dir: Path) -> list[dict[str, str]]:
    with (work_dir / "training.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in found]


def curve(work_dir: Path) -> dict[int, float]:
    """Return TensorBoard's loss at each step; the last run of the folder counts."""
    found = {}
    for path in sorted(work_dir.rglob("events.out.tfevents.*"), key=os.path.getmtime):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag == "loss":
                    found[event.step] = value.tensor.float_val[0]
    return found


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        if torch.is_tensor(value):
            assert torch.equal(value, second[name]), name


class Steps(Hook):
    """Hook that records the steps of a run and their places in the epoch."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, int]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.steps.append((runner.iter, runner.epoch, batch_idx))


@pytest.mark.parametrize("head", KEEPERS)
@pytest.mark.parametrize(
    ("accumulate", "loader", "deaths"),
    [
        (1, {}, [2, 7, 9, 15]),
        (3, {}, [5, 7, 13]),
        (4, {}, [8, 11, 15]),  # the last step of the optimizer has 3 batches instead of 4
        (1, {"num_workers": 2}, [6, 10, 15]),
        # With other samplers, skipped images are read and dropped.
        (1, {"batch_sampler": None, "drop_last": True}, [8]),
    ],
    ids=["plain", "accumulated", "with a rest", "workers", "any sampler"],
)
def test_a_run_killed_inside_epochs_ends_with_the_same_bits(
    tmp_path, head, accumulate, loader, deaths
):
    options = {
        "head": head,
        "loader": loader,
        "wrapper": {"accumulative_counts": accumulate},
    }
    whole = make_runner(tmp_path / "whole", **options)
    whole.train()
    work, seen, reached = tmp_path / "work", Steps(), 0
    for step in [*deaths, None]:
        hooks = [seen] if step is None else [seen, Act(step, die)]
        runner = make_runner(work, resume=True, hooks=hooks, **options)
        begun = len(seen.steps)
        with pytest.raises(StopError) if step else nullcontext():
            runner.train()
        assert 0 <= reached - seen.steps[begun][0] < 4 + accumulate
        reached = seen.steps[-1][0] + 1
        torch.manual_seed(reached)
    assert (runner.iter, runner.epoch) == (15, 3)
    assert all((epoch, place) == divmod(step, 5) for step, epoch, place in seen.steps)
    same(weights(runner), weights(whole))
    same(
        {f"{i} {k}": v for i, s in enumerate(runner.optim_wrapper.optimizer.state.values())
         for k, v in s.items()},
        {f"{i} {k}": v for i, s in enumerate(whole.optim_wrapper.optimizer.state.values())
         for k, v in s.items()},
    )  # fmt: skip
    assert runner.optim_wrapper.get_lr() == whole.optim_wrapper.get_lr()
    assert [row["step"] for row in rows(work)] == ["3", "5", "8", "10", "13", "15"]
    assert rows(work) == rows(tmp_path / "whole")
    assert curve(work) == curve(tmp_path / "whole") and len(curve(work)) == 6


@pytest.mark.parametrize("head", KEEPERS)
@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_writes_a_checkpoint_and_ends_with_143(tmp_path, capsys, head, workers):
    options = {"head": head, "interval": 1000, "loader": {"num_workers": workers}}
    whole = make_runner(tmp_path / "whole", **options)
    whole.train()
    for step in (3, 10, 15):  # inside an epoch, at the end of one, and at the end of the run
        runner = make_runner(
            tmp_path / "work", resume=True, hooks=[Act(step, send(signal.SIGTERM))], **options
        )
        with pytest.raises(SystemExit) as ended:
            runner.train()
        assert ended.value.code == 143
        line = f"SIGTERM: checkpoint written at step {step} of 15; the same command goes on from"
        assert line in capsys.readouterr().out
    seen = Steps()
    runner = make_runner(tmp_path / "work", resume=True, hooks=[seen], **options)
    runner.train()
    assert seen.steps == []
    same(weights(runner), weights(whole))
    assert rows(tmp_path / "work") == rows(tmp_path / "whole")


def test_sigusr1_writes_a_checkpoint_and_the_run_goes_on(tmp_path, capsys):
    whole = make_runner(tmp_path / "whole")
    whole.train()
    usr1 = Act(7, send(signal.SIGUSR1))
    runner = make_runner(tmp_path / "work", interval=1000, hooks=[usr1, Act(9, die)])
    with pytest.raises(StopError):
        runner.train()
    printed = capsys.readouterr().out
    assert printed.count("checkpoint written") == 1
    assert "work: SIGUSR1: checkpoint written at step 7 of 15; training goes on\n" in printed
    seen = Steps()
    runner = make_runner(tmp_path / "work", resume=True, hooks=[seen])
    runner.train()
    assert seen.steps[0] == (7, 1, 2)
    same(weights(runner), weights(whole))


def test_a_signal_waits_for_the_step_of_the_optimizer(tmp_path, capsys):
    options = {"wrapper": {"accumulative_counts": 4}}
    runner = make_runner(tmp_path, hooks=[Act(5, send(signal.SIGTERM))], **options)
    with pytest.raises(SystemExit):
        runner.train()
    assert "checkpoint written at step 8 of 15" in capsys.readouterr().out


@pytest.mark.parametrize("act", [None, die])
def test_handlers_of_signals_are_restored_after_the_run(tmp_path, act):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    within = []
    note = Act(1, lambda runner: within.append(signal.getsignal(signal.SIGTERM)))
    runner = make_runner(tmp_path, epochs=1, hooks=[note, *([Act(2, act)] if act else [])])
    try:
        runner.train()
    except StopError:
        assert act is die
    assert within[0] not in before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_without_a_checkpoint_hook_handlers_of_signals_stay(tmp_path):
    before, within = signal.getsignal(signal.SIGTERM), []
    note = Act(1, lambda runner: within.append(signal.getsignal(signal.SIGTERM)))
    hooks = {"logger": {"type": "TrainingRecordHook"}, "checkpoint": None}
    make_runner(tmp_path, epochs=1, hooks=[note], default_hooks=hooks).train()
    assert within == [before]


def test_a_run_outside_the_main_thread_leaves_signals_alone(tmp_path):
    runner = make_runner(tmp_path, epochs=1)
    thread = threading.Thread(target=runner.train)
    thread.start()
    thread.join()
    assert runner.iter == 5


def test_workers_leave_signals_from_outside_to_the_run(tmp_path, capsys):
    """A batch system sends signals to every process of a job."""

    def to_workers(runner):
        for child in (
            Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
            .read_text(encoding="utf-8")
            .split()
        ):
            for number in (signal.SIGUSR1, signal.SIGTERM):
                # The signal comes from another process, as that of a batch system does.
                os.system(f"kill -{number} {child}")
        os.kill(os.getpid(), signal.SIGTERM)

    runner = make_runner(tmp_path, loader={"num_workers": 2}, hooks=[Act(7, to_workers)])
    with pytest.raises(SystemExit):
        runner.train()
    assert "checkpoint written at step 7 of 15" in capsys.readouterr().out


class Validated:
    """A validation loop that records the step, and leaves the model in evaluation mode."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.stop_at = None

    def run(self) -> None:
        self.runner.model.eval()
        self.steps.append((self.runner.iter, self.runner.epoch))
        if self.runner.iter == self.stop_at:
            self.runner.train_loop.stop_training = True


def validated(tmp_path, monkeypatch, stop_at=None, **options):
    """Return a runner with such a validation loop, and the loop."""
    runner, loop = make_runner(tmp_path, **options), Validated()
    loop.runner, loop.stop_at = runner, stop_at
    monkeypatch.setattr(type(runner), "val_loop", property(lambda _: loop))
    monkeypatch.setattr(type(runner), "val_dataloader", property(lambda r: r.train_loop.dataloader))
    return runner, loop


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (None, [(5, 1), (10, 2), (15, 3)]),
        (4, [(4, 0), (8, 1), (12, 2), (15, 3)]),
        (100, [(15, 3)]),
        (5, [(5, 1), (10, 2), (15, 3)]),
    ],
)
def test_validation_runs_by_steps_and_after_the_last_step(
    tmp_path, monkeypatch, interval, expected
):
    train_cfg = {"val_interval": interval}
    runner, loop = validated(tmp_path, monkeypatch, train_cfg=train_cfg)
    runner.train()
    assert loop.steps == expected


def test_a_validation_leaves_each_part_in_its_mode(tmp_path, monkeypatch):
    modes = []

    class Frozen(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            norm = runner.model.backbone.layers[1]
            if batch_idx == 0:
                norm.eval()
            modes.append((norm.training, runner.model.training, runner.model.head.training))

    options = {"train_cfg": {"val_interval": 2}, "hooks": [Frozen()]}
    validated(tmp_path, monkeypatch, epochs=1, **options)[0].train()
    assert modes == [(False, True, True)] * 5


@pytest.mark.parametrize("stop_at", [4, 10])
def test_a_hook_can_end_the_run_for_good(tmp_path, monkeypatch, stop_at):
    options = {"train_cfg": {"val_interval": 2}}
    runner, loop = validated(tmp_path, monkeypatch, stop_at, **options)
    runner.train()
    assert runner.iter == loop.steps[-1][0] == stop_at
    assert runner.epoch == stop_at // 5
    assert rows(tmp_path)[-1]["step"] == str(stop_at)
    again = make_runner(tmp_path, resume=True, **options)
    again.train()
    assert again.iter == stop_at
    assert [row["step"] for row in rows(tmp_path)].count(str(stop_at)) == 1
    same(weights(again), weights(runner))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_cfg": {"max_epochs": 0}}, r"train_cfg\.max_epochs: .* whole number ≥ 1, found 0"),
        ({"train_cfg": {"max_epochs": 2.5}}, r"train_cfg\.max_epochs: .*, found 2\.5"),
        ({"train_cfg": {"max_epochs": True}}, r"train_cfg\.max_epochs: .*, found True"),
        ({"train_cfg": {"val_interval": 0}}, r"train_cfg\.val_interval: .*, found 0"),
        ({"train_cfg": {"val_interval": "9"}}, r"train_cfg\.val_interval: .*, found '9'"),
        ({"interval": 0}, r"checkpoint\.interval: expected a number of steps ≥ 1, found 0"),
        ({"loader": {"batch_size": 43}}, r"batch_size: 43 is more than the 42 images"),
        (
            {"loader": {"batch_size": 43, "batch_sampler": None, "drop_last": True}},
            r"train_dataloader\.batch_size: is more than the 42 images",
        ),
        ({"wrapper": {"type": "AutocastOptimWrapper", "dtype": "int8"}}, r"optim_wrapper\.dtype: "),
    ],
)
def test_bad_settings_are_named_before_the_first_step(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as refused:
        make_runner(tmp_path, **options).train()
    assert "\n" not in str(refused.value)


def test_another_loop_cannot_resume_inside_an_epoch(tmp_path):
    train_cfg = {"type": "EpochBasedTrainLoop"}
    with pytest.raises(ValueError, match=r"train_cfg: LastCheckpointHook needs .*EpochLoop"):
        make_runner(tmp_path, train_cfg=train_cfg).train()


@pytest.mark.parametrize("head", KEEPERS)
def test_a_checkpoint_that_does_not_fit_is_named(tmp_path, head):
    make_runner(tmp_path, head=head, epochs=1).train()
    with pytest.raises(ValueError, match=r"last\.\w+: its epochs have 5 steps, found 10; train_d"):
        make_runner(tmp_path, head=head, resume=True, loader={"batch_size": 4}).train()
    other = {"backbone": {"norm": False}, "head": head}
    with pytest.raises(ValueError, match=r"last\.\w+: .* to another model") as refused:
        make_runner(tmp_path, resume=True, **other).train()
    assert "backbone.layers." in str(refused.value) and "\n" not in str(refused.value)
