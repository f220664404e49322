"""Checkpoints that any number of processes can resume, with ``torch.distributed.checkpoint``.

In addition to PyTorch's files, a checkpoint has the SHA-256 of each file. PyTorch reads a
checkpoint's metadata, and all values that are not tensors, with ``pickle``. Here only allowed
classes can be unpickled, so that a file cannot choose which code runs.
"""

import io
import json
import pickle
from enum import Enum, EnumType
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from mmengine.dist import all_gather_object, barrier, is_main_process
from torch import nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import (
    Metadata,
    StorageMeta,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.utils._pytree import tree_map

from lh2face.distributed.checkpoint_files import (
    change_over,
    check_same_shapes,
    remove,
    shapes,
    unfinished,
)
from lh2face.distributed.collectives import rank, world_size
from lh2face.distributed.proxies import ShardedProxies, sharded_proxies
from lh2face.files.digests import digest

# PyTorch's name for extra state of a module; here, the range of classes that a process holds.
OWN_SUFFIX = "_extra_state"
METADATA, DIGESTS = ".metadata", "sha256.json"
METADATA_CLASSES = {
    "torch.distributed.checkpoint.metadata": (
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    ),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.serialization": ("_get_layout",),
    "torch": ("Size",),
    "pathlib": ("PosixPath", "WindowsPath"),
}


def save(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Write a checkpoint; every process must call this.

    Args:
        path: Folder of the checkpoint; an existing one becomes the previous checkpoint (see
            :mod:`lh2face.distributed.checkpoint_files`).
        model: The model, wrapped in ``DistributedDataParallel`` or not.
        optimizer: Its optimizer.
        progress: Further state. It is the same in every process, and
            ``torch.load(..., weights_only=True)`` can read its types.
    """
    new = unfinished(path)
    barrier()
    if is_main_process():
        remove(new)
    barrier()
    state, _ = _whole_state(model, optimizer)
    # PyTorch flattens dicts, but not tuples.
    state_dict_saver.save({**state, "progress": (progress,)}, checkpoint_id=new)
    # Each process computes the digests of the files that it wrote.
    parts = all_gather_object({part.name: digest(part) for part in new.glob(f"__{rank()}_*")})
    if is_main_process():
        digests = {name: value for part in parts for name, value in part.items()}
        digests[METADATA] = digest(new / METADATA)
        (new / DIGESTS).write_text(json.dumps(digests), encoding="utf-8")
        change_over(path)
    barrier()


def is_whole(path: Path) -> bool:
    """Whether every file of a checkpoint has its stored digest; any error means ``False``."""
    try:
        digests = json.loads((path / DIGESTS).read_text(encoding="utf-8"))
        return METADATA in digests and all(
            digest(path / name) == value for name, value in digests.items()
        )
    except Exception:
        return False


class SafeReader(FileSystemReader):
    """PyTorch's reader, but it reads a checkpoint's metadata with :class:`MetadataUnpickler`."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the metadata.

        Raises:
            pickle.UnpicklingError: If they contain a class that is not allowed.
        """
        with (Path(self.path) / METADATA).open("rb") as file:
            metadata: Metadata = MetadataUnpickler(file).load()
        metadata.storage_meta = StorageMeta(load_id=self.load_id)
        return metadata


class MetadataUnpickler(pickle.Unpickler):
    """Unpickler that allows only the classes of a checkpoint's metadata."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up an allowed class.

        Raises:
            pickle.UnpicklingError: If the class is not allowed.
        """
        if (module, name) == ("builtins", "getattr"):
            return enum_member
        dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if name not in METADATA_CLASSES.get(module, ()) and not dtype:
            raise pickle.UnpicklingError(f"checkpoint: refused to read {module}.{name}")
        return super().find_class(module, name)


def enum_member(cls: Any, name: Any) -> Enum:
    """Return a member of an enumeration; older Python 3.11 pickles it as a call of ``getattr``.

    Raises:
        pickle.UnpicklingError: If ``cls`` is not an enumeration or has no such member.
    """
    if not (isinstance(cls, EnumType) and name in cls.__members__):
        raise pickle.UnpicklingError("checkpoint: refused to read builtins.getattr")
    member: Enum = cls.__members__[name]
    return member


class SafePlanner(DefaultLoadPlanner):
    """PyTorch's planner, but it checks values other than tensors before it reads them."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Read the value with ``weights_only=True``, which refuses code; PyTorch reads it again."""
        torch.load(value, weights_only=True)
        value.seek(0)
        super().load_bytes(read_item, value)


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read a checkpoint into a model and its optimizer; every process must call this.

    Args:
        path: Folder that :func:`save` wrote, with any number of processes.
        model: The model.
        optimizer: Its optimizer.

    Returns:
        The ``progress`` that was saved.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the checkpoint belongs to another model.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    whole, own = _whole_state(model, optimizer)
    whole["progress"] = ()
    reader = SafeReader(path)
    kept = {
        name.removeprefix("model."): tuple(entry.size)
        for name, entry in reader.read_metadata().state_dict_metadata.items()
        if name.startswith("model.") and isinstance(entry, TensorStorageMetadata)
    }
    check_same_shapes(path, shapes(whole["model"]), kept)
    state_dict_loader.load(whole, storage_reader=reader, planner=SafePlanner())
    progress: dict[str, Any]
    (progress,) = whole.pop("progress")
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
    """Get the state of all processes, with sharded tensors, and this process's extra state."""
    model_state, optimizer_state = get_state_dict(model, optimizer)
    own = {name: model_state.pop(name) for name in [*model_state] if name.endswith(OWN_SUFFIX)}
    momenta = dict(cast("dict[str, Any]", optimizer_state["state"]))
    if world_size() > 1:
        kind = "cuda" if "nccl" in dist.get_backend() else "cpu"
        mesh = init_device_mesh(kind, (world_size(),))
        for name, part in sharded_proxies(getattr(model, "module", model)).items():
            whole, weight = partial(_whole, proxies=part, mesh=mesh), f"{name}.weight"
            model_state[weight] = whole(model_state[weight])
            momenta[weight] = tree_map(whole, momenta.get(weight, {}))
    return {"model": model_state, "optimizer": {**optimizer_state, "state": momenta}}, own


def _whole(value: Any, proxies: ShardedProxies, mesh: DeviceMesh) -> Any:
    """Make a tensor of this process's classes a part of a DTensor; return others unchanged."""
    if not torch.is_tensor(value) or value.shape != proxies.weight.shape:
        return value
    shape = torch.Size([proxies.num_classes, proxies.in_channels])
    stride = (proxies.in_channels, 1)
    return DTensor.from_local(value, mesh, [Shard(0)], run_check=False, shape=shape, stride=stride)


def _part(value: Any) -> Any:
    return value.to_local() if isinstance(value, DTensor) else value
