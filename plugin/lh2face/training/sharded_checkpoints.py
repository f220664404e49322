"""The mmengine hook for runs with sharded proxies."""

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
    """What a run with sharded proxies needs of mmengine's runner.

    It keeps the state of all processes in ``<work_dir>/last.dcp``, and the one before it in
    ``before.dcp``; any number of processes goes on from it. When it is written and read:
    :class:`~lh2face.training.checkpoints.CheckpointKeeper`. The hook also clips gradients, where
    the config says so, by the norm over all processes. It takes the place of the runner's
    checkpoint hook, which writes what the first process holds.

    Args:
        interval: Steps between two checkpoints, ≥ 1.

    Example:
        ``default_hooks = dict(checkpoint=dict(type="ShardedCheckpointHook"))``
    """

    file_name = "last.dcp"

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Whether nothing in the checkpoint has changed since it was written."""
        from lh2face.distributed.checkpoint import is_whole

        return is_whole(path)

    def before_run(self, runner: Any) -> None:
        """Have the run start from every process's own proxies, not from the first one's."""
        super().before_run(runner)
        runner._init_model_weights = partial(init_model_weights, runner)

    def before_train(self, runner: Any) -> None:
        """Clip across processes."""
        super().before_train(runner)
        if runner.optim_wrapper.clip_grad_kwargs:
            sharded = [part.weight for part in sharded_proxies(runner.model).values()]
            runner.optim_wrapper.clip_func = partial(clip_grad_norm_, sharded=sharded)

    def write(self, runner: Any, path: Path, progress: dict[str, Any]) -> None:
        """Write what each process holds, and what mmengine keeps beside the model."""
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
        """Read each process's part."""
        from lh2face.distributed.checkpoint import load

        progress = load(path, runner.model, runner.optim_wrapper.optimizer)
        for scheduler, state in zip(runner.param_schedulers or [], progress["lr"], strict=True):
            scheduler.load_state_dict(state)
        runner.message_hub.load_state_dict(progress["message_hub"])
        if "loss_scaler" in progress:
            runner.optim_wrapper.loss_scaler.load_state_dict(progress["loss_scaler"])
        return progress


def init_model_weights(runner: Any) -> None:
    """The runner's own, with what the processes share sent to all and nothing else."""
    model = getattr(runner.model, "module", runner.model)
    model.init_weights()
    sharded = tuple(sharded_proxies(model))
    for name, value in model.state_dict().items():
        if not name.startswith(sharded):
            broadcast(value)
