"""The mmengine hooks that keep the checkpoints from which a run goes on."""

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


class CheckpointKeeper(Hook):
    """What the hooks that keep checkpoints share: when one is written, and going on from it.

    A checkpoint is written every ``interval`` steps, after each epoch, at the end of the run, and
    where SIGUSR1 or SIGTERM asks for one; SIGTERM then ends the process with exit code 143, as a
    shell reports it. A signal may reach one process of several: all of them answer at the same
    step. The state is that between two steps of the optimizer, so where gradients are accumulated
    each of these waits for the next.

    A run with ``resume=True`` goes on from the newest checkpoint that is whole. Each is written
    beside its place, brought to disk and renamed; the last and the one before it are kept. What is
    not finite is never written.

    Args:
        interval: Steps between two checkpoints, ≥ 1.

    Raises:
        ValueError: If the interval is no such number.
    """

    # Before the hooks that begin a step: what others did after the last one, such as a validation
    # or a step of the learning rate, is in.
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
        """Whether a run can go on from the checkpoint; ``False`` whatever is wrong."""
        raise NotImplementedError

    def write(self, runner: Any, path: Path, progress: dict[str, Any]) -> None:
        """Write a checkpoint; every process takes part."""
        raise NotImplementedError

    def read(self, runner: Any, path: Path) -> dict[str, Any]:
        """Read a checkpoint into the runner, and return its ``progress``."""
        raise NotImplementedError

    def before_run(self, runner: Any) -> None:
        """Tell a run that is to go on from where.

        Raises:
            ValueError: If the training loop is none that can go on inside an epoch.
        """
        if not isinstance(runner.train_loop, EpochLoop):
            raise ValueError(
                f"train_cfg: {type(self).__name__} needs dict(type='EpochLoop', max_epochs=...), "
                f"found {type(runner.train_loop).__name__}, which cannot go on inside an epoch"
            )
        runner.train_loop.heeded = SIGNALS
        if runner._resume and runner._load_from is None:
            runner._resume = False
            path = newest(Path(runner.work_dir) / self.file_name, self.is_whole)
            if path is not None:
                runner.load_or_resume = partial(self.go_on, runner, path)

    def go_on(self, runner: Any, path: Path) -> None:
        """Bring a run to where a checkpoint was written.

        Raises:
            ValueError: If the checkpoint is that of another model or of epochs of other lengths.
        """
        progress, loop = self.read(runner, path), runner.train_loop
        steps = len(loop.dataloader)
        if progress["steps_of_epoch"] != steps:
            raise ValueError(
                f"{path}: its epochs have {progress['steps_of_epoch']} steps, found {steps}; "
                "train_dataloader.batch_size and the images must be the same"
            )
        loop._epoch, loop._iter = progress["epoch"], progress["iter"]

    def before_train(self, runner: Any) -> None:
        """Note where the run begins or goes on: nothing has to be kept yet."""
        self.kept, self.kept_epoch = runner.iter, runner.epoch

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Write a checkpoint if one is due; end the run if SIGTERM asked for that."""
        if not runner.optim_wrapper.should_update():
            return
        asked = asked_anywhere(runner.train_loop.asked)
        if asked or runner.epoch > self.kept_epoch or runner.iter >= self.kept + self.interval:
            self.save(runner)
        self.answer(runner, asked)

    def after_train(self, runner: Any) -> None:
        """Write the last checkpoint."""
        self.save(runner)
        self.answer(runner, asked_anywhere(runner.train_loop.asked))

    def save(self, runner: Any) -> None:
        """Write ``<work_dir>/<file_name>``, unless the newest is of this step.

        Raises:
            NonFiniteError: If anything in it is not finite.
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

    def answer(self, runner: Any, asked: set[int]) -> None:
        """Say that the checkpoint is written; end the process if SIGTERM asked.

        Raises:
            SystemExit: With 143.
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
            barrier()  # a launcher kills the others when one process ends
            raise SystemExit(128 + signal.SIGTERM)


def asked_anywhere(asked: set[int]) -> set[int]:
    """The signals that any process got; every process must call it."""
    flags = torch.tensor([number in asked for number in SIGNALS], dtype=torch.int32)
    all_reduce(flags, op="max")
    return {number for number, flag in zip(SIGNALS, flags.tolist(), strict=True) if flag}


@HOOKS.register_module()
class LastCheckpointHook(CheckpointKeeper):
    """Keep the state of a run in ``<work_dir>/last.pth``, and the one before it in ``before.pth``.

    What the first process holds is the state of all. When it is written and read:
    :class:`CheckpointKeeper`.

    Args:
        interval: Steps between two checkpoints, ≥ 1.

    Example:
        ``default_hooks = dict(checkpoint=dict(type="LastCheckpointHook", interval=500))``
    """

    file_name = "last.pth"

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Whether nothing in the checkpoint has changed since it was written, and it can be read.

        PyTorch does not look at the checksums in its files, and the checksums do not cover the
        names of the parts; so both are tried. Weights that are not finite count as damaged: no
        run could go on from them. Whatever is wrong, the answer is no.
        """
        try:
            with zipfile.ZipFile(path) as file:
                if file.testzip() is not None:
                    return False
            state = torch.load(path, map_location="cpu", weights_only=True)
            # mmengine would run a "config" as Python code; it writes none.
            weights = filter(torch.is_tensor, state["state_dict"].values())
            return "config" not in state["meta"] and all(w.isfinite().all() for w in weights)
        except Exception:
            return False

    def write(self, runner: Any, path: Path, progress: dict[str, Any]) -> None:
        """Write it as mmengine does; the first process alone."""
        if is_main_process():
            runner.save_checkpoint(runner.work_dir, unfinished(path).name, meta=progress)
            change_over(path)

    def read(self, runner: Any, path: Path) -> dict[str, Any]:
        """Have mmengine resume."""
        self.path = path
        runner.resume(str(path))
        return self.progress

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Compare a checkpoint to go on from with the model; mmengine would only warn.

        Raises:
            ValueError: If it is that of another model.
        """
        if not hasattr(self, "path"):
            return
        self.progress = checkpoint["meta"]
        model = getattr(runner.model, "module", runner.model).state_dict()
        check_same_shapes(self.path, shapes(model), shapes(checkpoint["state_dict"]))
