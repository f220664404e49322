"""mmengine hooks that write checkpoints and resume a run from them."""

import signal
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, is_main_process
from mmengine.hooks import Hook

from lh2face.distributed.checkpoint_files import (
    change_over,
    check_same_shapes,
    newest,
    shapes,
    unfinished,
)
from lh2face.distributed.finite import check_finite
from lh2face.registry import HOOKS
from lh2face.training.loop import SIGNALS, EpochLoop


class CheckpointKeeper(Hook):  # type: ignore[misc]  # mmengine has no types
    """Base class of the checkpoint hooks: it decides when to write a checkpoint and how to resume.

    A checkpoint is written every ``interval`` steps, after each epoch, at the end of the run, and
    when the process receives SIGUSR1 or SIGTERM. After SIGTERM the process ends with exit code 143,
    which is what a shell reports for that signal. If only one of several processes receives the
    signal, all of them act on it at the same step. If gradients are accumulated over several
    batches, a checkpoint is only written after a step of the optimizer.

    A run with ``resume=True`` and no ``load_from`` resumes from the newest intact checkpoint. A
    checkpoint is written to a temporary name, flushed to disk, and then renamed. The last two are
    kept. A state with NaN or infinity is never written.

    Args:
        interval: Number of steps between two checkpoints, ≥ 1.

    Raises:
        ValueError: If the interval is not a whole number ≥ 1.
    """

    # This hook runs before the others at the beginning of a step. So the checkpoint includes what
    # they did after the previous step, such as a validation or a new learning rate.
    priority = "HIGH"
    file_name: str

    def __init__(self, interval: int = 1000) -> None:
        if type(interval) is not int or interval < 1:
            raise ValueError(
                "default_hooks.checkpoint.interval: expected a number of steps ≥ 1, found "
                f"{interval!r}"
            )
        self.interval = interval

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Whether the checkpoint is intact, so that a run can resume from it."""
        raise NotImplementedError

    def write(self, runner: Any, path: Path, progress: dict[str, Any]) -> None:
        """Write a checkpoint; every process must call this."""
        raise NotImplementedError

    def read(self, runner: Any, path: Path) -> dict[str, Any]:
        """Read a checkpoint into the runner, and return its ``progress``."""
        raise NotImplementedError

    def before_run(self, runner: Any) -> None:
        """Find the checkpoint to resume from, if the run is to resume.

        Raises:
            ValueError: If the training loop cannot resume within an epoch.
        """
        if not isinstance(runner.train_loop, EpochLoop):
            raise ValueError(
                f"train_cfg: {type(self).__name__} needs dict(type='EpochLoop', max_epochs=...), "
                f"found {type(runner.train_loop).__name__}, which cannot resume within an epoch"
            )
        runner.train_loop.heeded = SIGNALS
        if runner._resume and runner._load_from is None:
            runner._resume = False
            path = newest(Path(runner.work_dir) / self.file_name, self.is_whole)
            if path is not None:
                runner.load_or_resume = partial(self.resume_from, runner, path)

    def resume_from(self, runner: Any, path: Path) -> None:
        """Restore a run from a checkpoint.

        Raises:
            ValueError: If the checkpoint belongs to another model, or its epochs have another
                number of steps.
        """
        progress, loop = self.read(runner, path), runner.train_loop
        steps = len(loop.dataloader)
        if progress["steps_of_epoch"] != steps:
            raise ValueError(
                f"{path}: its epochs have {progress['steps_of_epoch']} steps, found {steps}; "
                "train_dataloader.batch_size and the images must be those of the checkpoint"
            )
        loop._epoch, loop._iter = progress["epoch"], progress["iter"]

    def before_train(self, runner: Any) -> None:
        """Note the step at which this run starts; there is nothing new to save yet."""
        self.kept, self.kept_epoch = runner.iter, runner.epoch

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Write a checkpoint if one is due; end the run if SIGTERM was received."""
        if not runner.optim_wrapper.should_update():
            return
        asked = signals_of_all(runner.train_loop.asked)
        if asked or runner.epoch > self.kept_epoch or runner.iter >= self.kept + self.interval:
            self.save(runner)
        self.report_signals(runner, asked)

    def after_train(self, runner: Any) -> None:
        """Write the last checkpoint."""
        self.save(runner)
        self.report_signals(runner, signals_of_all(runner.train_loop.asked))

    def save(self, runner: Any) -> None:
        """Write ``<work_dir>/<file_name>``, unless there is already one for this step.

        Raises:
            NonFiniteError: If a weight or a state of the optimizer is not finite.
        """
        if runner.iter > self.kept:
            check_finite(runner)
            progress = {
                "epoch": runner.epoch,
                "iter": runner.iter,
                "steps_of_epoch": len(runner.train_loop.dataloader),
            }
            self.write(runner, Path(runner.work_dir) / self.file_name, progress)
        self.kept, self.kept_epoch = runner.iter, runner.epoch

    def report_signals(self, runner: Any, asked: set[int]) -> None:
        """Report the checkpoint that a signal asked for; end the process if it was SIGTERM.

        Raises:
            SystemExit: With code 143, after SIGTERM.
        """
        runner.train_loop.asked -= asked
        if not asked:
            return
        ended = signal.SIGTERM in asked
        if is_main_process():
            then = "the same command goes on from there" if ended else "training goes on"
            name = "SIGTERM" if ended else "SIGUSR1"
            print(
                f"{runner.work_dir}: {name}: checkpoint written at step {runner.iter} of "
                f"{runner.max_iters}; {then}",
                flush=True,
            )
        if ended:
            barrier()  # a launcher kills the other processes when the first one ends
            raise SystemExit(128 + signal.SIGTERM)


def signals_of_all(asked: set[int]) -> set[int]:
    """Return the signals that any process received; every process must call this."""
    flags = torch.tensor([number in asked for number in SIGNALS], dtype=torch.int32)
    all_reduce(flags, op="max")
    return {number for number, flag in zip(SIGNALS, flags.tolist(), strict=True) if flag}


@HOOKS.register_module()
class LastCheckpointHook(CheckpointKeeper):
    """Keep the state of a run in ``<work_dir>/last.pth``, and the previous one in ``before.pth``.

    Only the first process writes, so every process must hold the same state. For a sharded head,
    use ``ShardedCheckpointHook``. The base class describes when checkpoints are written and read.

    Args:
        interval: Number of steps between two checkpoints, ≥ 1.

    Example:
        ``default_hooks = dict(checkpoint=dict(type="LastCheckpointHook", interval=500))``
    """

    file_name = "last.pth"

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Whether the checkpoint is intact and can be read.

        PyTorch does not verify the checksums in its files, and the checksums do not cover the names
        of the parts. So the checksums are verified and the file is loaded. Weights that are not
        finite count as damaged, because no run could resume from them. Any error means ``False``.
        """
        try:
            with zipfile.ZipFile(path) as file:
                if file.testzip() is not None:
                    return False
            state = torch.load(path, map_location="cpu", weights_only=True)
            # On resume mmengine would run "config" as Python code; our checkpoints have none.
            weights = filter(torch.is_tensor, state["state_dict"].values())
            return "config" not in state["meta"] and all(w.isfinite().all() for w in weights)
        except Exception:
            return False

    def write(self, runner: Any, path: Path, progress: dict[str, Any]) -> None:
        """Let mmengine write the checkpoint, in the first process only."""
        if is_main_process():
            runner.save_checkpoint(runner.work_dir, unfinished(path).name, meta=progress)
            change_over(path)

    def read(self, runner: Any, path: Path) -> dict[str, Any]:
        """Let mmengine resume from the checkpoint, and return its ``progress``."""
        self.path = path
        runner.resume(str(path))
        return self.progress

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint to resume from fits the model; mmengine would only warn.

        Raises:
            ValueError: If the checkpoint belongs to another model.
        """
        if not hasattr(self, "path"):
            return
        self.progress: dict[str, Any] = checkpoint["meta"]
        model = getattr(runner.model, "module", runner.model).state_dict()
        check_same_shapes(self.path, shapes(model), shapes(checkpoint["state_dict"]))
