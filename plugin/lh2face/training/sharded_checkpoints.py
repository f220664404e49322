"""mmengine hook for training with sharded proxies: checkpoints, clipping and initial weights."""

from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast

from lh2face.distributed.clipping import clip_grad_norm_
from lh2face.distributed.proxies import sharded_proxies
from lh2face.registry import HOOKS
from lh2face.training.checkpoints import CheckpointKeeper


@HOOKS.register_module()
class ShardedCheckpointHook(CheckpointKeeper):
    """Adapt mmengine's runner to sharded proxies; it replaces the checkpoint hook of the config.

    The hook keeps the state of all processes in ``<work_dir>/last.dcp``, and the previous state in
    ``before.dcp``. A run can be resumed with any number of processes. The base class describes when
    checkpoints are written and read. If the config clips gradients, they are clipped by the norm
    over all processes.

    Args:
        interval: Number of steps between two checkpoints, ≥ 1.

    Example:
        ``default_hooks = dict(checkpoint=dict(type="ShardedCheckpointHook"))``
    """

    file_name = "last.dcp"

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Whether the checkpoint is intact: all its files have the digests stored in it."""
        from lh2face.distributed.checkpoint import is_whole

        return is_whole(path)

    def before_run(self, runner: Any) -> None:
        """Let each process start with its own proxies instead of those of the first process."""
        super().before_run(runner)
        runner._init_model_weights = partial(init_model_weights, runner)

    def before_train(self, runner: Any) -> None:
        """Let gradient clipping use the norm over all processes."""
        super().before_train(runner)
        if runner.optim_wrapper.clip_grad_kwargs:
            sharded = [part.weight for part in sharded_proxies(runner.model).values()]
            runner.optim_wrapper.clip_func = partial(clip_grad_norm_, sharded=sharded)

    def write(self, runner: Any, path: Path, progress: dict[str, Any]) -> None:
        """Write the parts of all processes, and the states of schedules, message hub and scaler."""
        from lh2face.distributed.checkpoint import save

        progress = {
            **progress,
            "lr": [scheduler.state_dict() for scheduler in runner.param_schedulers or []],
            "message_hub": runner.message_hub.state_dict(),
        }
        if hasattr(runner.optim_wrapper, "loss_scaler"):
            progress["loss_scaler"] = runner.optim_wrapper.loss_scaler.state_dict()
        save(path, runner.model, runner.optim_wrapper.optimizer, progress)

    def read(self, runner: Any, path: Path) -> dict[str, Any]:
        """Read this process's part and the common states into the runner."""
        from lh2face.distributed.checkpoint import load

        progress = load(path, runner.model, runner.optim_wrapper.optimizer)
        for scheduler, state in zip(runner.param_schedulers or [], progress["lr"], strict=True):
            scheduler.load_state_dict(state)
        runner.message_hub.load_state_dict(progress["message_hub"])
        if "loss_scaler" in progress:
            runner.optim_wrapper.loss_scaler.load_state_dict(progress["loss_scaler"])
        return progress


def init_model_weights(runner: Any) -> None:
    """Initialise the model; all tensors but the proxies get the values of the first process."""
    model = getattr(runner.model, "module", runner.model)
    model.init_weights()
    sharded = tuple(sharded_proxies(model))
    for name, value in model.state_dict().items():
        if not name.startswith(sharded):
            broadcast(value)
