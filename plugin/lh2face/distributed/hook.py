"""The mmengine hook for runs with sharded proxies."""

from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast
from mmengine.hooks import Hook

from lh2face.distributed.checkpoint_files import newest
from lh2face.distributed.clipping import clip_grad_norm_
from lh2face.distributed.finite import check_finite
from lh2face.distributed.proxies import sharded_proxies
from lh2face.registry import HOOKS


@HOOKS.register_module()
class ShardedCheckpointHook(Hook):
    """What a run with sharded proxies needs of mmengine's runner.

    It keeps the state of the last finished epoch in ``<work_dir>/last.dcp``, and the one before it.
    A run with ``resume=True`` and any number of processes goes on from the newest that is whole.
    What is not finite is never written. The hook also clips gradients, where the config says
    so, by the norm over all processes. It takes the place of the runner's checkpoint hook, which
    writes what the first process holds.

    Args:
        interval: Epochs between two checkpoints; the last epoch is always kept.

    Example:
        ``default_hooks = dict(checkpoint=dict(type="ShardedCheckpointHook"))``
    """

    # Before the hooks that look where the run is; so an epoch is kept when the next one begins, and
    # what others do at its end, such as a step of the learning rate, is in.
    priority = "HIGH"
    file_name = "last.dcp"

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval
        self.kept = 0

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Whether nothing in the checkpoint has changed since it was written."""
        from lh2face.distributed.checkpoint import is_whole

        return is_whole(path)

    def before_run(self, runner: Any) -> None:
        """Have the run start from every process's own proxies, not from the first one's."""
        runner._init_model_weights = partial(init_model_weights, runner)

    def before_train(self, runner: Any) -> None:
        """Clip across processes, and go on from where a run was."""
        sharded = [part.weight for part in sharded_proxies(runner.model).values()]
        if runner.optim_wrapper.clip_grad_kwargs:
            runner.optim_wrapper.clip_func = partial(clip_grad_norm_, sharded=sharded)
        path = runner._resume and newest(Path(runner.work_dir) / self.file_name, self.is_whole)
        if path:
            from lh2face.distributed.checkpoint import load

            progress = load(path, runner.model, runner.optim_wrapper.optimizer)
            runner.train_loop._epoch, runner.train_loop._iter = progress["epoch"], progress["iter"]
            self.kept = progress["epoch"]
            for scheduler, state in zip(runner.param_schedulers or [], progress["lr"], strict=True):
                scheduler.load_state_dict(state)
            if "loss_scaler" in progress:
                runner.optim_wrapper.loss_scaler.load_state_dict(progress["loss_scaler"])

    def before_train_epoch(self, runner: Any) -> None:
        """Keep the epoch before."""
        if runner.epoch >= self.kept + self.interval:
            self.save(runner)

    def after_train(self, runner: Any) -> None:
        """Keep the last epoch."""
        self.save(runner)

    def save(self, runner: Any) -> None:
        """Write ``<work_dir>/last.dcp``.

        Raises:
            NonFiniteError: If anything in it is not finite.
        """
        from lh2face.distributed.checkpoint import save

        check_finite(runner)
        progress = {
            "epoch": runner.epoch,
            "iter": runner.iter,
            "lr": [scheduler.state_dict() for scheduler in runner.param_schedulers or []],
        }
        if hasattr(runner.optim_wrapper, "loss_scaler"):
            progress["loss_scaler"] = runner.optim_wrapper.loss_scaler.state_dict()
        path = Path(runner.work_dir) / self.file_name
        save(path, runner.model, runner.optim_wrapper.optimizer, progress)
        self.kept = runner.epoch


def init_model_weights(runner: Any) -> None:
    """The runner's own, with what the processes share sent to all and nothing else."""
    model = getattr(runner.model, "module", runner.model)
    model.init_weights()
    sharded = tuple(sharded_proxies(model))
    for name, value in model.state_dict().items():
        if not name.startswith(sharded):
            broadcast(value)
