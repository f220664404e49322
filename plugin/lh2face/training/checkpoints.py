"""The mmengine hook that keeps the checkpoint from which a run goes on."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from lh2face.distributed.checkpoint_files import change_over, newest, unfinished
from lh2face.distributed.finite import check_finite
from lh2face.registry import HOOKS


@HOOKS.register_module()
class LastCheckpointHook(Hook):
    """Keep the state of the last finished epoch in ``<work_dir>/last.pth``, and the one before it.

    A run with ``resume=True`` goes on from the newest that is whole. Each is written beside its
    place, brought to disk and renamed. What is not finite is never written.

    Args:
        interval: Epochs between two checkpoints; the last epoch is always kept.
    """

    priority = "VERY_LOW"
    file_name = "last.pth"

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval

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

    def before_run(self, runner: Any) -> None:
        """Tell a run that is to go on from where."""
        if runner._resume and runner._load_from is None:
            found = newest(Path(runner.work_dir) / self.file_name, self.is_whole)
            runner._resume = found is not None
            runner._load_from = None if found is None else str(found)

    def after_train_epoch(self, runner: Any) -> None:
        """Write the checkpoint.

        Raises:
            NonFiniteError: If anything in it is not finite.
        """
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        check_finite(runner)
        if is_main_process():
            path = Path(runner.work_dir) / self.file_name
            runner.save_checkpoint(runner.work_dir, unfinished(path).name, by_epoch=True)
            change_over(path)
