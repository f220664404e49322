"""mmengine hook that seeds the random generators."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from lh2face.registry import HOOKS

# The two purposes of a seed: loading the data of an epoch, and computing a step.
LOADING, COMPUTING = range(2)


@HOOKS.register_module()
class SeedHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Seed Python's, NumPy's and PyTorch's generators before each epoch and each step.

    The seeds are computed from the run's seed, the rank, and the number of the epoch or step. So a
    step draws the same numbers in a resumed run as in a run without interruption, and checkpoints
    need no state of the generators.

    The workers of a data loader get their seeds at the beginning of an epoch. If a run resumes
    within an epoch, it skips batches, so that the workers draw other numbers for the remaining
    ones. A data set can avoid this with a method ``set_epoch(seed, epoch)``, which is called before
    each epoch. It can then seed the draws of each image separately, so that they do not depend on
    the number of workers or processes, or on skipped batches.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Any) -> None:
        """Seed the loading of the epoch's data."""
        seed_generators(runner.seed, get_rank(), runner.epoch, LOADING)
        tell = getattr(runner.train_dataloader.dataset, "set_epoch", None)
        if tell is not None:
            tell(runner.seed, runner.epoch)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the computing of the step."""
        seed_generators(runner.seed, get_rank(), runner.iter, COMPUTING)


def seed_generators(*entropy: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators from whole numbers ≥ 0."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
