"""Patches that let arcface_torch run on a CPU, for trials rather than for long training."""

import importlib
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader


class PlainDataLoader(DataLoader[Any]):
    """Replacement of arcface_torch's ``DataLoaderX``, which prefetches batches to a GPU."""

    def __init__(self, local_rank: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "pin_memory": False})


def use() -> None:
    """Patch PyTorch and arcface_torch for the whole process, so that the script needs no CUDA."""
    start, parallel = torch.distributed.init_process_group, nn.parallel.DistributedDataParallel

    def init_process_group(backend: str, **kwargs: Any) -> None:
        start("gloo", **kwargs)

    def data_parallel(device_ids: list[int], **kwargs: Any) -> nn.Module:
        return parallel(**kwargs)

    patches: list[tuple[Any, str, Any]] = [
        (torch.distributed, "init_process_group", init_process_group),
        (nn.parallel, "DistributedDataParallel", data_parallel),
        (nn.Module, "cuda", lambda module: module),
        (torch.cuda, "set_device", lambda device: None),
        (importlib.import_module("dataset"), "DataLoaderX", PlainDataLoader),
    ]
    for owner, name, patch in patches:
        setattr(owner, name, patch)
    sampler = importlib.import_module("utils.utils_distributed_sampler")
    sampler.sync_random_seed.__defaults__ = (None, "cpu")
