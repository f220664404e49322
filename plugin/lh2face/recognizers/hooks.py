"""mmengine hooks for training: seeding, checkpoints, the record of a run, progress."""

import csv
import random
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process, master_only
from mmengine.hooks import Hook

from lh2face.progress import Bar, Lines, progress
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
    visualizer the config names), and what the progress shown says beside the step. Rows that a
    resumed run will write again are dropped first.

    Args:
        interval: Steps between two rows; a row also ends with each epoch.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self.sums: dict[str, float] = {}
        self.steps = self.images = 0
        self.progress: Bar | Lines | None = None
        self.means = ""

    def before_train(self, runner: Any) -> None:
        """Open the record, at the step that the run starts or goes on from."""
        self.path = Path(runner.work_dir) / "training.csv"
        drop_rows(self.path, runner.iter)
        self.window_start = time.perf_counter()
        if is_main_process():
            self.progress = progress("training", runner.max_iters, done=runner.iter)

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
        if self.steps == self.interval or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self.write(runner)
        if self.progress is not None:
            status = f"epoch {runner.epoch + 1}/{runner.max_epochs}{self.means}"
            self.progress.advance(status=status)

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
        self.means = f"  loss {row['loss']:.3f}  {row['images_per_second']:.0f} images/s"
        self.sums, self.steps, self.images, self.window_start = {}, 0, 0, now

    def after_train(self, runner: Any) -> None:
        """Leave the terminal as it was and what was recorded on disk."""
        if self.progress is not None:
            self.progress.close()
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
