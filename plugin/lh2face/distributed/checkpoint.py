"""Checkpoints that any number of processes resumes from, by ``torch.distributed.checkpoint``.

Reading one unpickles what is in it: read only what your own runs wrote.
"""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.utils._pytree import tree_map

from lh2face.distributed.clipping import clip_grad_norm_
from lh2face.distributed.collectives import world_size
from lh2face.distributed.proxies import ShardedProxies, sharded_proxies
from lh2face.registry import HOOKS

CHECKPOINT = "last.dcp"
# PyTorch's name for what a module adds to its state; here, which classes a process holds.
OWN_SUFFIX = "_extra_state"


def save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Write a checkpoint; every process must take part.

    Args:
        path: Folder to write; the one before stays until the new one is whole.
        model: The model, in ``DistributedDataParallel`` or not.
        optimizer: Its optimizer.
        progress: How far the run is, JSON types only, the same in every process.
    """
    new = path.with_name(f".{path.name}.partial")
    if is_main_process():
        shutil.rmtree(new, ignore_errors=True)
    barrier()
    state, _ = _whole_state(model, optimizer)
    dcp.save({**state, "progress": json.dumps(progress)}, checkpoint_id=new)
    if is_main_process():
        shutil.rmtree(path, ignore_errors=True)
        new.rename(path)
    barrier()


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read a checkpoint into a model and its optimizer; every process must take part.

    Args:
        path: What :func:`save` wrote, in any number of processes.
        model: The model to read into.
        optimizer: Its optimizer.

    Returns:
        ``progress``.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    whole, own = _whole_state(model, optimizer)
    whole["progress"] = ""
    dcp.load(whole, checkpoint_id=path)
    progress = json.loads(whole.pop("progress"))
    model_state, optimizer_state = (tree_map(_part, whole[key]) for key in ("model", "optimizer"))
    set_state_dict(
        model,
        optimizer,
        model_state_dict={**own, **model_state},
        optim_state_dict=optimizer_state,
    )
    return progress


def _whole_state(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state as that of all processes, and what of it is each process's own."""
    model_state, optimizer_state = get_state_dict(model, optimizer)
    own = {name: model_state.pop(name) for name in [*model_state] if name.endswith(OWN_SUFFIX)}
    momenta = dict(optimizer_state["state"])
    if world_size() > 1:
        kind = "cuda" if "nccl" in dist.get_backend() else "cpu"
        mesh = init_device_mesh(kind, (world_size(),))
        for name, part in sharded_proxies(getattr(model, "module", model)).items():
            whole, weight = partial(_whole, proxies=part, mesh=mesh), f"{name}.weight"
            model_state[weight] = whole(model_state[weight])
            momenta[weight] = tree_map(whole, momenta.get(weight, {}))
    return {"model": model_state, "optimizer": {**optimizer_state, "state": momenta}}, own


def _whole(value: Any, proxies: ShardedProxies, mesh: DeviceMesh) -> Any:
    """A tensor with rows for this process's classes as a part of one for all; or the value."""
    if not torch.is_tensor(value) or value.shape != proxies.weight.shape:
        return value
    shape = torch.Size([proxies.num_classes, proxies.in_channels])
    stride = (proxies.in_channels, 1)
    return DTensor.from_local(value, mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)


def _part(value: Any) -> Any:
    return value.to_local() if isinstance(value, DTensor) else value


@HOOKS.register_module()
class ShardedCheckpointHook(Hook):
    """What a run with sharded proxies needs of mmengine's runner.

    It keeps the state of the last finished epoch in ``<work_dir>/last.dcp``, from which a run with
    ``resume=True`` and any number of processes goes on, and clips gradients, where the config says
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

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval
        self.kept = 0

    def before_train(self, runner: Any) -> None:
        """Clip across processes, and go on from where a run was."""
        sharded = [part.weight for part in sharded_proxies(runner.model).values()]
        if runner.optim_wrapper.clip_grad_kwargs:
            runner.optim_wrapper.clip_func = partial(clip_grad_norm_, sharded=sharded)
        path = Path(runner.work_dir) / CHECKPOINT
        if runner._resume and path.exists():
            progress = load(path, runner.model, runner.optim_wrapper.optimizer)
            runner.train_loop._epoch, runner.train_loop._iter = progress["epoch"], progress["iter"]
            self.kept = progress["epoch"]
            for scheduler, state in zip(runner.param_schedulers or [], progress["lr"], strict=True):
                scheduler.load_state_dict(state)

    def before_train_epoch(self, runner: Any) -> None:
        """Keep the epoch before."""
        if runner.epoch >= self.kept + self.interval:
            self.save(runner)

    def after_train(self, runner: Any) -> None:
        """Keep the last epoch."""
        self.save(runner)

    def save(self, runner: Any) -> None:
        """Write ``<work_dir>/last.dcp``."""
        progress = {
            "epoch": runner.epoch,
            "iter": runner.iter,
            "lr": [scheduler.state_dict() for scheduler in runner.param_schedulers or []],
        }
        path = Path(runner.work_dir) / CHECKPOINT
        save(path, runner.model, runner.optim_wrapper.optimizer, progress)
        self.kept = runner.epoch
