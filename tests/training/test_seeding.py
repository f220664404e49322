"""What the draws of a run depend on."""

import random
from types import SimpleNamespace

import numpy as np
import torch

from lh2face.training import seeding
from lh2face.training.seeding import SeedHook


def test_every_epoch_step_and_rank_has_draws_of_its_own(monkeypatch):
    draws = []
    for rank in (0, 1):
        monkeypatch.setattr(seeding, "get_rank", lambda rank=rank: rank)
        for seed, step in [(0, 0), (0, 1), (1, 0)]:
            for method in ("before_train_epoch", "before_train_iter"):
                runner = SimpleNamespace(seed=seed, iter=step)
                getattr(SeedHook(), method)(runner, *([0] if "iter" in method else []))
                draws.append((torch.rand(()).item(), float(np.random.rand()), random.random()))
    for values in zip(*draws, strict=True):
        assert len(set(values)) == len(draws)
    SeedHook().before_train_iter(SimpleNamespace(seed=0, iter=1), 0)
    monkeypatch.setattr(seeding, "get_rank", lambda: 0)
    SeedHook().before_train_iter(SimpleNamespace(seed=0, iter=1), 0)
    assert torch.rand(()).item() == draws[3][0]
