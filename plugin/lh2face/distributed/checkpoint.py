"""Checkpoints that any number of processes resumes from, by ``torch.distributed.checkpoint``.

Reading one unpickles what is in it: read only what your own runs wrote.
"""

import json
import shutil
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from mmengine.dist import barrier, is_main_process
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.utils._pytree import tree_map

from lh2face.distributed.collectives import world_size
from lh2face.distributed.proxies import ShardedProxies, sharded_proxies

# PyTorch's name for what a module adds to its state; here, which classes a process holds.
OWN_SUFFIX = "_extra_state"


def save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Write a checkpoint; every process must take part.

    Args:
        path: Name of the checkpoint, a link to the folder that was written last; it changes over
            in one step when a new one is whole.
        model: The model, in ``DistributedDataParallel`` or not.
        optimizer: Its optimizer.
        progress: How far the run is, JSON types only, the same in every process.
    """
    new, old = folders(path)
    if path.resolve() == new.resolve():
        new, old = old, new
    barrier()
    if is_main_process():
        shutil.rmtree(new, ignore_errors=True)
    barrier()
    state, _ = _whole_state(model, optimizer)
    dcp.save({**state, "progress": json.dumps(progress)}, checkpoint_id=new)
    if is_main_process():
        link = path.with_name(f".{path.name}.link")
        link.unlink(missing_ok=True)
        link.symlink_to(new.name)
        link.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    barrier()


def is_whole(path: Path) -> bool:
    """Whether a checkpoint has every byte that its list of contents names."""
    reader = dcp.FileSystemReader(path)
    try:
        parts = reader.read_metadata().storage_data.values()
        return all((path / p.relative_path).stat().st_size >= p.offset + p.length for p in parts)
    except (OSError, EOFError, UnpicklingError):
        return False


def remove(path: Path) -> None:
    """Remove a checkpoint, and what an interrupted :func:`save` left."""
    path.unlink(missing_ok=True)
    for folder in folders(path):
        shutil.rmtree(folder, ignore_errors=True)


def folders(path: Path) -> tuple[Path, Path]:
    """The two folders that take turns behind the name of a checkpoint."""
    return path.with_name(f".{path.name}.0"), path.with_name(f".{path.name}.1")


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
