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
    """Seed every random generator at each epoch and step, from the run's seed and the rank.

    What loads the data is seeded by the epoch, what computes by the step. A step then draws the
    same numbers whether the run came to it by itself or was resumed, inside an epoch too, so no
    generator's state has to be in the checkpoint.

    A data set with a method ``set_epoch(seed, epoch)`` is told both before each epoch, so that it
    can draw for each image by itself: then the draws depend neither on the number of workers, nor
    on that of processes, nor on the batches that a resumed run leaves out.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Any) -> None:
        """Seed what loads the data of the epoch."""
        seed_generators(runner.seed, get_rank(), runner.epoch, LOADING)
        tell = getattr(runner.train_dataloader.dataset, "set_epoch", None)
        if tell is not None:
            tell(runner.seed, runner.epoch)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed what computes the step."""
        seed_generators(runner.seed, get_rank(), runner.iter, COMPUTING)


def seed_generators(*entropy: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators from whole numbers ≥ 0."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
