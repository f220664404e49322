"""The mmengine hook that records a run, shows its progress and stops it at NaN."""

import csv
import math
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, MessageHub

from lh2face.distributed.finite import LAST_FINITE, NonFiniteError, in_words
from lh2face.progress import Bar, Lines, progress
from lh2face.registry import HOOKS


@HOOKS.register_module()
class TrainingRecordHook(Hook):
    """Write what a run does, averaged over every ``interval`` steps and all processes.

    Each average becomes a row of ``<work_dir>/training.csv``, the scalars of TensorBoard (or what
    visualizer the config names), and what the progress shown says beside the step. Rows that a
    resumed run will write again are dropped first.

    It stops a run, in every process at the same step, when the loss or the norm of the gradients
    is not finite. It also keeps mmengine's own history of each step short: mmengine copies it at
    every step and puts it into every checkpoint.

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
        forget_history(runner.message_hub)
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
        """Add one step; write a row when the window is full.

        Raises:
            NonFiniteError: If the loss or the gradients are not finite.
        """
        statistics = mean_over_processes(outputs or {})
        check_step(runner, statistics)
        for name, value in statistics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1
        self.images += len(data_batch["inputs"]) * get_world_size()
        if self.steps == self.interval or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self.write(runner)
            forget_history(runner.message_hub)
            self.sums, self.steps, self.images = {}, 0, 0
        if self.progress is not None:
            status = f"epoch {runner.epoch + 1}/{runner.max_epochs}{self.means}"
            self.progress.advance(status=status)

    @master_only
    def write(self, runner: Any) -> None:
        """Write the averages of the window; the time of the next one begins."""
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
        self.window_start = now

    def after_train(self, runner: Any) -> None:
        """Leave the terminal as it was and what was recorded on disk."""
        if self.progress is not None:
            self.progress.close()
        runner.visualizer.close()


def mean_over_processes(outputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Each scalar's mean over the processes; not finite if one of them is not.

    The device is waited for once, whatever the number of scalars.
    """
    if not outputs:
        return {}
    device = next(iter(outputs.values())).device
    values = torch.stack([value.detach().float().to(device) for value in outputs.values()])
    all_reduce(values, op="mean")
    return dict(zip(outputs, values.tolist(), strict=True))


def check_step(runner: Any, statistics: dict[str, float]) -> None:
    """Raise :class:`NonFiniteError` if a step's loss or gradients are not finite."""
    watched = {"the loss": statistics.get("loss", 0.0)}
    # Known where gradients are clipped, the same in every process.
    name = getattr(runner.optim_wrapper, "grad_name", "")
    norms = runner.message_hub.log_scalars.get(f"train/{name}")
    # A loss scaler tries factors that overflow, and leaves such steps out itself.
    if norms is not None and not hasattr(runner.optim_wrapper, "loss_scaler"):
        watched["the norm of the gradients"] = norms.current()
    for name, value in watched.items():
        if not math.isfinite(value):
            raise NonFiniteError(in_words(runner, runner.iter + 1, f"{name} is {value}"))
    last = {"step": runner.iter + 1, **statistics}
    runner.message_hub.update_info(LAST_FINITE, last, resumed=False)


def forget_history(hub: MessageHub) -> None:
    """Keep the last value of each scalar that mmengine records."""
    for name, buffer in hub.log_scalars.items():
        hub.log_scalars[name] = HistoryBuffer(*(values[-1:] for values in buffer.data))


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a training record, under the header that its first row makes."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(row)
        writer.writerow(f"{v:.6g}" if isinstance(v, float) else v for v in row.values())


def drop_rows(path: Path, last_step: int) -> None:
    """Drop what a training record holds after a step, and what is no whole row of numbers.

    Writing may have been stopped in the middle of a row, and a power cut may leave anything.
    """
    if not path.exists():
        return
    header, *rows = path.read_text(encoding="utf-8", errors="replace").split("\n")
    kept = [row for row in rows if _is_row_until(row, header.count(","), last_step)]
    if not kept:
        path.unlink()
        return
    new = path.with_name(f".{path.name}.new")
    new.write_text("\n".join([header, *kept, ""]), encoding="utf-8", newline="\r\n")
    new.replace(path)


def _is_row_until(row: str, commas: int, last_step: int) -> bool:
    try:
        step, *_ = map(float, row.split(","))
    except ValueError:
        return False
    return row.count(",") == commas and step <= last_step
