"""A run of a few steps with mmengine's Runner, on a tiny network."""

import itertools
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from lh2face.registry import DATASETS, MODELS

IMAGES, PEOPLE, BATCH = 42, 5, 8  # 5 steps per epoch; 2 images are left over
LH2FACE = {"type": "LH2FaceHead", "vmf_dim": 6, "num_classes": PEOPLE, "in_channels": 8}
HEADS = {"lh2face": LH2FACE, "sharded": {"type": "ShardedHead", "head": LH2FACE}}
RATES = [
    {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 7},
    {"type": "MultiStepLR", "by_epoch": True, "milestones": [1, 2], "gamma": 0.5},
]
RUNS = itertools.count()


@MODELS.register_module()
class Tiny(nn.Module):
    """A backbone with dropout, and batch norm if wanted."""

    def __init__(self, in_channels: int = 3, norm: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3),
            nn.BatchNorm2d(4) if norm else nn.Identity(),
            nn.PReLU(),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(4 * 6 * 6, 8),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).float()


@DATASETS.register_module()
class Drawn(Dataset):
    """Images of noise, drawn from seed, epoch and index, like augmented images."""

    def __init__(self) -> None:
        # The tensor is shared with persistent workers.
        self.place = torch.zeros(2, dtype=torch.int64).share_memory_()

    def set_epoch(self, seed: int, epoch: int) -> None:
        self.place.copy_(torch.tensor([seed, epoch]))

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict[str, Any]:
        seed, epoch = self.place.tolist()
        generator = torch.Generator().manual_seed(10_000 * seed + 100 * epoch + index)
        image = torch.randint(256, (3, 8, 8), generator=generator, dtype=torch.uint8)
        return {"inputs": image, "label": index % PEOPLE}


class Act(Hook):
    """Hook that acts after a step, after all other hooks."""

    priority = "LOWEST"

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.iter + 1 == self.step:
            self.act(runner)


class StopError(Exception):
    """Ends a run like a kill."""


def die(runner: Any) -> None:
    """End the run as a kill does: nothing more is written."""
    raise StopError


def send(number: int) -> Any:
    """Return an action that sends a signal to the process itself."""
    return lambda runner: os.kill(os.getpid(), number)


def make_runner(
    work_dir: Path,
    *,
    head: str = "lh2face",
    epochs: int = 3,
    interval: int = 4,
    loader: dict[str, Any] | None = None,
    wrapper: dict[str, Any] | None = None,
    backbone: dict[str, Any] | None = None,
    recognizer: dict[str, Any] | None = None,
    train_cfg: dict[str, Any] | None = None,
    hooks: list[Hook] | None = None,
    **changes: Any,
) -> Runner:
    """Return a Runner with a config like ``configs/recognition.py``."""
    keeper = "LastCheckpointHook" if head == "lh2face" else "ShardedCheckpointHook"
    default_hooks = {
        "seed": {"type": "SeedHook"},
        "logger": {"type": "TrainingRecordHook", "interval": 3},
        "checkpoint": {"type": keeper, "interval": interval},
    }
    return Runner(
        model={
            "type": "FaceRecognizer",
            "backbone": {"type": "Tiny", **(backbone or {})},
            "head": HEADS[head],
            **(recognizer or {}),
        },
        work_dir=str(work_dir),
        experiment_name=f"run-{next(RUNS)}",
        train_dataloader={
            "dataset": {"type": "Drawn"},
            "batch_size": BATCH,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_sampler": {"type": "EvenBatchSampler"},
            "collate_fn": {"type": "default_collate"},
            **(loader or {}),
        },
        train_cfg={"type": "EpochLoop", "max_epochs": epochs, **(train_cfg or {})},
        optim_wrapper={
            "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9},
            "clip_grad": {"max_norm": 1.0},
            **(wrapper or {}),
        },
        custom_hooks=hooks or [],
        visualizer={"type": "Visualizer", "vis_backends": [{"type": "TensorboardVisBackend"}]},
        randomness={"seed": 3},
        log_level="ERROR",
        **{"param_scheduler": RATES, "default_hooks": default_hooks, **changes},
    )


def weights(runner: Runner) -> dict[str, Tensor]:
    """Return a copy of all tensors of a model."""
    state = runner.model.state_dict()
    return {name: value.clone() for name, value in state.items() if torch.is_tensor(value)}
