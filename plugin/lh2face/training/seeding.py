"""The mmengine hook that seeds every random generator."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from lh2face.registry import HOOKS

# What a seed is for.
LOADING, COMPUTING = range(2)


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed every random generator at each epoch and step, from the run's seed, the step, the rank.

    A step then draws the same numbers whether the run came to it by itself or was resumed, and
    however many workers load the images, so no generator's state has to be in the checkpoint.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Any) -> None:
        """Seed what loads the data of the epoch."""
        seed_generators(runner.seed, get_rank(), runner.iter, LOADING)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed what computes the step."""
        seed_generators(runner.seed, get_rank(), runner.iter, COMPUTING)


def seed_generators(*entropy: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators from whole numbers ≥ 0."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
