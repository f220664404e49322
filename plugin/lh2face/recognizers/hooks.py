"""mmengine hooks for training: seeding, checkpoints, the record of a run, progress."""

import csv
import random
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process, master_only
from mmengine.hooks import Hook

from lh2face.registry import HOOKS

# What a seed is for.
LOADING, COMPUTING = range(2)


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed every random generator at each epoch and step, from the run's seed, the step, the rank.

    A step then draws the same numbers whether the run came to it by itself or was resumed, and
    however many workers load the images, so no generator's state has to be in the checkpoint.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Any) -> None:
        """Seed what loads the data of the epoch."""
        seed_generators(runner.seed, get_rank(), runner.iter, LOADING)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed what computes the step."""
        seed_generators(runner.seed, get_rank(), runner.iter, COMPUTING)


def seed_generators(*entropy: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators from whole numbers ≥ 0."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@HOOKS.register_module()
class LastCheckpointHook(Hook):
    """Keep the state of the last finished epoch in ``<work_dir>/last.pth``.

    The file is written beside its place and renamed, so an interruption leaves the one before.

    Args:
        interval: Epochs between two checkpoints; the last epoch is always kept.
    """

    priority = "VERY_LOW"
    file_name = "last.pth"

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Whether the checkpoint can be read to its end and nothing in it has changed."""
        try:
            with zipfile.ZipFile(path) as file:
                return file.testzip() is None
        except (zipfile.BadZipFile, EOFError):
            return False

    @staticmethod
    def remove(path: Path) -> None:
        """Remove the checkpoint."""
        path.unlink()

    @master_only
    def after_train_epoch(self, runner: Any) -> None:
        """Write the checkpoint."""
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        work_dir = Path(runner.work_dir)
        runner.save_checkpoint(str(work_dir), f"{self.file_name}.new", by_epoch=True)
        (work_dir / f"{self.file_name}.new").replace(work_dir / self.file_name)


@HOOKS.register_module()
class TrainingRecordHook(Hook):
    """Write what a run does, averaged over every ``interval`` steps.

    Each average becomes a row of ``<work_dir>/training.csv``, the scalars of TensorBoard (or what
    visualizer the config names), and a line on standard output; on a terminal a progress bar
    takes the place of the lines. Rows that a resumed run will write again are dropped first.

    Args:
        interval: Steps between two rows; a row also ends with each epoch.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self.sums: dict[str, float] = {}
        self.steps = self.images = 0
        self.bar: Any = None

    def before_train(self, runner: Any) -> None:
        """Open the record, at the step that the run starts or goes on from."""
        self.path = Path(runner.work_dir) / "training.csv"
        drop_rows(self.path, runner.iter)
        self.first_step, self.start = runner.iter, time.perf_counter()
        self.window_start = self.start
        if is_main_process() and sys.stdout.isatty():
            self.bar = progress_bar(runner)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Add one step; write a row when the window is full."""
        for name, value in (outputs or {}).items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item()
        self.steps += 1
        self.images += len(data_batch["inputs"])
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=runner.iter + 1)
        if self.steps == self.interval or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self.write(runner)

    @master_only
    def write(self, runner: Any) -> None:
        """Write the averages of the window and begin the next one."""
        now = time.perf_counter()
        row = {
            "step": runner.iter + 1,
            "epoch": runner.epoch + 1,
            "lr": runner.optim_wrapper.get_lr()["lr"][0],
            **{name: total / self.steps for name, total in self.sums.items()},
            "images_per_second": self.images / (now - self.window_start),
        }
        append_row(self.path, row)
        runner.visualizer.add_scalars(
            {k: v for k, v in row.items() if k != "step"}, step=row["step"]
        )
        if self.bar is not None:
            speed = f"loss {row['loss']:.3f} · {row['images_per_second']:.0f} images/s"
            self.bar.update(self.bar.task_ids[0], status=speed)
        else:
            print(progress_line(row, runner, now - self.start, self.first_step), flush=True)
        self.sums, self.steps, self.images, self.window_start = {}, 0, 0, now

    def after_train(self, runner: Any) -> None:
        """Leave the terminal as it was and what was recorded on disk."""
        if self.bar is not None:
            self.bar.stop()
        runner.visualizer.close()


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a training record, under the header that its first row makes."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(row)
        writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in row.values())


def drop_rows(path: Path, last_step: int) -> None:
    """Drop what a training record holds after a step, and half a row where writing was stopped."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    kept = [row for row in rows if len(row) == len(header) and int(row[0]) <= last_step]
    if not kept:
        path.unlink()
        return
    new = path.with_name(f".{path.name}.new")
    with new.open("w", newline="") as file:
        csv.writer(file).writerows([header, *kept])
    new.replace(path)


def progress_line(row: dict[str, Any], runner: Any, elapsed: float, first_step: int) -> str:
    """One plain line on how far the run is."""
    left = elapsed / (row["step"] - first_step) * (runner.max_iters - row["step"])
    return (
        f"epoch {row['epoch']}/{runner.max_epochs}  step {row['step']}/{runner.max_iters}  "
        f"loss {row['loss']:.4f}  {row['images_per_second']:.0f} images/s  "
        f"{int(left) // 60}:{int(left) % 60:02d} left"
    )


def progress_bar(runner: Any) -> Any:
    """A started progress bar over all steps of the run."""
    from rich import progress

    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[status]}"),
        progress.TimeRemainingColumn(),
    )
    bar.add_task("train", total=runner.max_iters, completed=runner.iter, status="")
    bar.start()
    return bar
