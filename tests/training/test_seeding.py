"""Random draws of a run depend on seed, epoch, step and rank."""

import random
from types import SimpleNamespace

import numpy as np
import torch

from lh2face.training import seeding
from lh2face.training.seeding import SeedHook


def a_runner(seed: int, epoch: int, step: int, dataset: object = None) -> SimpleNamespace:
    loader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(seed=seed, epoch=epoch, iter=step, train_dataloader=loader)


def test_every_epoch_step_and_rank_has_its_own_draws(monkeypatch):
    draws = []
    for rank in (0, 1):
        monkeypatch.setattr(seeding, "get_rank", lambda rank=rank: rank)
        for seed, step in [(0, 0), (0, 1), (1, 0)]:
            for method in ("before_train_epoch", "before_train_iter"):
                runner = a_runner(seed, step, step)
                getattr(SeedHook(), method)(runner, *([0] if "iter" in method else []))
                draws.append((torch.rand(()).item(), float(np.random.rand()), random.random()))
    for values in zip(*draws, strict=True):
        assert len(set(values)) == len(draws)
    SeedHook().before_train_iter(a_runner(0, 7, 1), 0)
    monkeypatch.setattr(seeding, "get_rank", lambda: 0)
    SeedHook().before_train_iter(a_runner(0, 7, 1), 0)
    assert torch.rand(()).item() == draws[3][0]


def test_loading_is_seeded_by_the_epoch_alone(monkeypatch):
    """So a run that resumes inside an epoch gives its workers the same seeds."""
    told, draws = [], []
    dataset = SimpleNamespace(set_epoch=lambda *place: told.append(place))
    for step in (20, 23):
        SeedHook().before_train_epoch(a_runner(5, 2, step, dataset))
        draws.append((torch.rand(()).item(), float(np.random.rand()), random.random()))
    assert told == [(5, 2), (5, 2)]
    assert draws[0] == draws[1]
