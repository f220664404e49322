"""Patches of mmengine 0.10: resuming with PyTorch ≥ 2.6, launchers without CUDA, sharded proxies.

Importing :mod:`lh2face.register` applies them. mmengine imports ``custom_imports`` before it starts
processes or loads checkpoints, so they also work in toolboxes that are based on mmengine.
"""

import functools
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any
from unittest.mock import patch

import mmengine.dist.utils
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import MMDistributedDataParallel
from numpy._core import multiarray
from torch import nn
from torch.serialization import add_safe_globals

from lh2face.distributed.proxies import sharded_proxies

HISTORY_STATISTICS = ("min", "max", "current", "mean")


def apply() -> None:
    """Apply all patches; a second call changes nothing."""
    allow_checkpoint_classes()
    allow_launchers_on_cpu()
    leave_sharded_proxies_to_each_process()


def allow_checkpoint_classes() -> None:
    """Let ``torch.load`` read the checkpoints that mmengine writes, so that runs can resume.

    mmengine stores its logged scalars as :class:`HistoryBuffer` objects, which contain NumPy
    arrays. Since PyTorch 2.6, ``torch.load`` reads only tensors, plain containers, and the classes
    on an allow-list. The classes that are added to it here hold numbers and run no code.
    """
    add_safe_globals(
        [
            HistoryBuffer,
            # A HistoryBuffer refers to its methods; pickle writes them as getattr(class, name).
            (history_statistic, "builtins.getattr"),
            np.ndarray,
            np.dtype,
            *(type(np.dtype(scalar)) for scalar in (np.float64, np.float32, np.int64)),
            multiarray._reconstruct,
            multiarray.scalar,
        ]
    )


def history_statistic(owner: type, name: str) -> Callable[..., Any]:
    """Replace ``getattr`` in a checkpoint: return a statistic of :class:`HistoryBuffer`.

    Raises:
        UnpicklingError: If the checkpoint asks for any other attribute, or for another object's.
    """
    if owner is not HistoryBuffer or name not in HISTORY_STATISTICS:
        raise UnpicklingError(
            f"checkpoint: refused to read attribute {name!r} of {owner!r}; "
            f"allowed: {', '.join(HISTORY_STATISTICS)} of HistoryBuffer"
        )
    statistic: Callable[..., Any] = getattr(HistoryBuffer, name)
    return statistic


def allow_launchers_on_cpu() -> None:
    """Let ``launcher="pytorch"`` and ``"slurm"`` start processes on a machine without CUDA.

    mmengine calls ``torch.cuda.set_device`` in every process, which fails without CUDA. It also
    uses NCCL by default, which needs CUDA, and passes a device index to
    ``DistributedDataParallel``, which refuses it for a model on the CPU.
    """
    wrap = MMDistributedDataParallel.__init__
    if hasattr(wrap, "__wrapped__"):
        return

    @functools.wraps(wrap)
    def init_wrapper(self: MMDistributedDataParallel, module: nn.Module, **kwargs: object) -> None:
        on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
        wrap(self, module, **{**kwargs, "device_ids": None} if on_cpu else kwargs)

    MMDistributedDataParallel.__init__ = init_wrapper
    for name in ("_init_dist_pytorch", "_init_dist_slurm"):
        setattr(mmengine.dist.utils, name, with_gloo_on_cpu(getattr(mmengine.dist.utils, name)))


def with_gloo_on_cpu(start: Callable[..., None]) -> Callable[..., None]:
    """Change a launcher of mmengine: without CUDA, it sets no device and uses gloo."""

    @functools.wraps(start)
    def init_dist(backend: str, **kwargs: object) -> None:
        if torch.cuda.is_available():
            return start(backend, **kwargs)
        with patch.object(torch.cuda, "set_device", lambda device: None):
            return start("gloo", **kwargs)

    return init_dist


def leave_sharded_proxies_to_each_process() -> None:
    """Exclude sharded proxies from ``DistributedDataParallel``, as each process holds its own part.

    Otherwise all processes would get the first process's part, and average their gradients.
    """
    wrap = MMDistributedDataParallel.__init__
    if getattr(wrap, "leaves_sharded_proxies", False):
        return

    @functools.wraps(wrap)
    def init_wrapper(self: MMDistributedDataParallel, module: nn.Module, **kwargs: object) -> None:
        own = [f"{name}.weight" for name in sharded_proxies(module)]
        vars(module)["_ddp_params_and_buffers_to_ignore"] = own
        wrap(self, module, **kwargs)

    vars(init_wrapper)["leaves_sharded_proxies"] = True
    MMDistributedDataParallel.__init__ = init_wrapper
