"""mmengine hooks that record a training and its validations, and end it at NaN or infinity."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast_object_list, get_world_size, is_main_process
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import HistoryBuffer, MessageHub

from lh2face.artifacts.training_record import (
    TRAINING,
    VALIDATION,
    drop_rows,
    read_validations,
    record_row,
)
from lh2face.distributed.finite import LAST_FINITE, NonFiniteError, non_finite_message
from lh2face.progress import Bar, Lines, progress
from lh2face.registry import HOOKS

# Key of the message hub for the sums of the next row; checkpoints store the message hub.
WINDOW = "window"


@HOOKS.register_module()
class TrainingRecordHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Record the statistics of a run, averaged over ``interval`` steps and all processes.

    The averages are written as a row of ``<work_dir>/training.csv``, and to the config's
    visualizer, such as TensorBoard. The progress display shows the loss and the speed. A resumed
    run first deletes the rows that it will write again. The sums for the next row are stored in
    checkpoints.

    The hook ends the run, in every process at the same step, if the loss or the norm of the
    gradients is not finite. The norm is known only if gradients are clipped.

    The hook also shortens mmengine's history of scalars, which mmengine otherwise copies at every
    step and stores in every checkpoint.

    Args:
        interval: Number of steps per row, ≥ 1; a row also ends at the end of each epoch.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self.progress: Bar | Lines | None = None
        self.means = ""

    def before_train(self, runner: Any) -> None:
        """Open the record at the step where the run starts or resumes."""
        self.path = Path(runner.work_dir) / TRAINING
        self.window = runner.message_hub.get_info(WINDOW) or new_window()
        runner.message_hub.update_info(WINDOW, self.window)
        forget_history(runner.message_hub)
        self.clock = time.perf_counter()
        if is_main_process():
            # If the earlier run ended at this step, it wrote a row for it, and no sums are left.
            # Then the row stays.
            drop_rows(self.path, runner.iter - bool(self.window["steps"]))
            self.progress = progress("training", runner.max_iters, done=runner.iter)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: dict[str, Any],
        outputs: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Add one step to the sums; write a row when there are ``interval`` of them.

        Raises:
            NonFiniteError: If the loss or the norm of the gradients is not finite.
        """
        statistics = mean_over_processes(outputs or {})
        check_step(runner, statistics)
        now, window = time.perf_counter(), self.window
        for name, value in statistics.items():
            window["sums"][name] = window["sums"].get(name, 0.0) + value
        window["steps"] += 1
        window["images"] += len(data_batch["inputs"]) * get_world_size()
        window["seconds"] += now - self.clock
        self.clock = now
        if window["steps"] == self.interval or self.end_of_epoch(
            runner.train_dataloader, batch_idx
        ):
            self.write(runner, runner.iter + 1, runner.epoch + 1)
        if self.progress is not None:
            status = f"epoch {runner.epoch + 1}/{runner.max_epochs}{self.means}"
            self.progress.advance(status=status)

    def after_val(self, runner: Any) -> None:
        """Exclude the time of a validation from the images per second."""
        self.clock = time.perf_counter()

    def write(self, runner: Any, step: int, epoch: int) -> None:
        """Write the averages of the steps summed so far as a row, and reset the sums."""
        window = dict(self.window)
        self.window.update(new_window())
        forget_history(runner.message_hub)
        row = {
            "step": step,
            "epoch": epoch,
            "lr": runner.optim_wrapper.get_lr()["lr"][0],
            **{name: total / window["steps"] for name, total in window["sums"].items()},
            "images_per_second": window["images"] / window["seconds"],
        }
        self.means = f"  loss {row['loss']:.3f}  {row['images_per_second']:.0f} images/s"
        if is_main_process():
            record_row(self.path, row)
            scalars = {name: value for name, value in row.items() if name != "step"}
            runner.visualizer.add_scalars(scalars, step=step)
            flush(runner.visualizer)

    def after_train(self, runner: Any) -> None:
        """Write the last row, close the progress display and the visualizer."""
        if self.window["steps"]:
            self.write(runner, runner.iter, runner.epoch + 1)
        if self.progress is not None:
            self.progress.close()
        runner.visualizer.close()


@HOOKS.register_module()
class ValidationRecordHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Print the metrics of each validation, and write them to the visualizer and a CSV file.

    The file is ``<work_dir>/validation.csv``. The metrics are called ``name/figure``. A row has the
    step, the name, and one column per figure. A resumed run first deletes the rows that it will
    write again. It passes the other rows to :class:`mmengine.hooks.EarlyStoppingHook`, if the run
    has one, because that hook stores no state.
    """

    priority = "BELOW_NORMAL"
    path: Path | None = None  # path of the record; None before the training begins

    def before_train(self, runner: Any) -> None:
        """Open the record at the step where the run starts or resumes."""
        self.path = Path(runner.work_dir) / VALIDATION
        found: list[Any] = [None]
        if is_main_process():
            drop_rows(self.path, runner.iter)
            found = [read_validations(self.path)]
        broadcast_object_list(found)
        for hook in runner.hooks:
            if isinstance(hook, EarlyStoppingHook):
                for metrics in found[0]:
                    hook.after_val_epoch(runner, metrics)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        """Record the metrics of a validation."""
        if not is_main_process():
            return
        runner.visualizer.add_scalars(
            {f"val/{name}": value for name, value in metrics.items()}, step=runner.iter
        )
        by_name: dict[str, dict[str, float]] = {}
        for key, value in metrics.items():
            name, _, figure = key.rpartition("/")
            by_name.setdefault(name, {})[figure] = value
        figures = {figure: math.nan for found in by_name.values() for figure in found}
        for name, found in by_name.items():
            # repr keeps all digits, so a float is the same when it is read again.
            values = {key: repr(value) for key, value in {**figures, **found}.items()}
            if self.path is not None:
                record_row(self.path, {"step": runner.iter, "name": name, **values})
        shown = "  ".join(f"{key} {value:.4f}" for key, value in metrics.items())
        print(f"validation at step {runner.iter}: {shown}", flush=True)


def new_window() -> dict[str, Any]:
    """Return empty sums for a row: those of the statistics, and of steps, images and seconds."""
    return {"sums": {}, "steps": 0, "images": 0, "seconds": 0.0}


def flush(visualizer: Any) -> None:
    """Flush a visualizer to disk, so that nothing is lost if the process is killed."""
    for backend in visualizer._vis_backends.values():
        getattr(backend.experiment, "flush", lambda: None)()


def mean_over_processes(outputs: dict[str, torch.Tensor]) -> dict[str, float]:
    """Compute the mean of each scalar over the processes; NaN or infinity in one process remains.

    All scalars are stacked, so that the device is synchronised only once.
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
    # mmengine computes the norm only if gradients are clipped; it is the same in every process.
    name = getattr(runner.optim_wrapper, "grad_name", "")
    norms = runner.message_hub.log_scalars.get(f"train/{name}")
    scaler = getattr(runner.optim_wrapper, "loss_scaler", None)
    # A loss scaler also tries scales that are too large, and skips the steps that overflow.
    if norms is not None and scaler is None:
        watched["the norm of the gradients"] = norms.current()
    wrong = [f"{name} is {value}" for name, value in watched.items() if not math.isfinite(value)]
    if scaler is not None and scaler.get_scale() < 1:
        wrong.append(f"the gradients overflow, although the loss is scaled by {scaler.get_scale()}")
    if wrong:
        raise NonFiniteError(non_finite_message(runner, runner.iter + 1, wrong[0]))
    last = {"step": runner.iter + 1, **statistics}
    runner.message_hub.update_info(LAST_FINITE, last, resumed=False)


def forget_history(hub: MessageHub) -> None:
    """Drop all but the last value of each scalar that mmengine records."""
    for name, buffer in hub.log_scalars.items():
        hub.log_scalars[name] = HistoryBuffer(*(values[-1:] for values in buffer.data))
