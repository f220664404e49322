"""Proxies divided over the processes by class, with negative classes sampled as in Partial FC."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lh2face.distributed.collectives import (
    concatenate,
    logsumexp_parts,
    rank,
    shared,
    sum_parts,
    world_size,
)
from lh2face.functional.similarities import HardNegatives, Similarities, proxy_similarities, unit
from lh2face.registry import MODELS

# Rows that are drawn from one seed, so that no number of processes changes the initial values.
ROWS_PER_SEED = 4096


@MODELS.register_module()
class ShardedProxies(nn.Module):
    """One vector a class; each process holds ``ceil(C / processes)`` classes, the last ones fewer.

    Every process gives the same rows and labels, and gets the same reductions over all classes.
    ``weight`` holds this process's rows alone: data parallelism must leave it as it is, and an
    ordinary checkpoint has one process's part (see :mod:`lh2face.distributed.checkpoint`).

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding.
        sample_rate: Share of a process's classes that a training step computes with, in (0, 1]:
            those of the batch and others at random (Partial FC, arXiv 2203.15565).

    Attributes:
        weight: ``(n, d)``, the rows of classes ``start`` … ``start + n − 1``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, num_classes: int, in_channels: int, sample_rate: float = 1.0) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, found {num_classes}")
        if not 0 < sample_rate <= 1:
            raise ValueError(f"sample_rate: expected a share in (0, 1], found {sample_rate!r}")
        self.num_classes, self.in_channels = num_classes, in_channels
        self.sample_rate = sample_rate
        # How DTensor divides rows, in which checkpoints are written.
        size = -(-num_classes // world_size())
        self.start = min(rank() * size, num_classes)
        stop = min(self.start + size, num_classes)
        self.weight = nn.Parameter(_initial_rows(self.start, stop, in_channels))

    def forward(
        self,
        rows: Tensor,
        labels: Tensor,
        *,
        offset: Tensor | None = None,
        anchor_scale: Tensor | None = None,
        hard: HardNegatives | None = None,
    ) -> Similarities:
        """As :func:`lh2face.functional.similarities.proxy_similarities`, over all processes.

        Args:
            rows: ``(R, d)``, the same in every process.
            labels: ``(R,)`` int64 in 0 … C − 1, the same in every process.
            offset: As there, the same in every process.
            anchor_scale: As there, the same in every process.
            hard: As there, the same in every process.

        Returns:
            The same in every process; ``columns`` are those of the sampled classes.
        """
        place, inside = self._locate(labels)
        if anchor_scale is not None:
            rows = torch.cat([rows, anchor_scale * unit(self._own(place, inside))])
            place, inside = place.repeat(2), inside.repeat(2)
        weight = self.weight
        if self.training and self.sample_rate < 1:
            sampled = self._sample(place, inside)
            weight, place = weight[sampled], torch.searchsorted(sampled, place)
        found = proxy_similarities(
            shared(rows),
            weight,
            torch.where(inside, place, -1),
            offset=None if offset is None else shared(offset),
            hard=hard,
        )
        return Similarities(
            target=sum_parts(found.target),
            negatives=logsumexp_parts(found.negatives),
            columns=found.columns if offset is None else concatenate(found.columns),
        )

    @torch.no_grad()
    def target(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Similarity ``(R,)`` of each row to its own proxy alone, without gradient."""
        return (rows * unit(self._own(*self._locate(labels)))).sum(1)

    def scores(self, rows: Tensor) -> Tensor:
        """As :meth:`lh2face.heads.proxy_head.Proxies.scores`.

        Raises:
            ValueError: If other processes hold classes too: their rows are not these.
        """
        if len(self.weight) < self.num_classes:
            raise ValueError(
                f"proxies: expected all classes in one process to predict among them, found "
                f"{_classes(self.get_extra_state())}; validate by embeddings, or in one process"
            )
        return rows @ unit(self.weight).T

    def _locate(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Place of each label among this process's rows, and whether it is one of them."""
        place = labels - self.start
        return place, (place >= 0) & (place < len(self.weight))

    def _own(self, place: Tensor, inside: Tensor) -> Tensor:
        """The proxies ``(R, d)`` of the labels, from whichever process holds them."""
        own = self.weight.new_zeros(len(place), self.in_channels)
        return sum_parts(own.index_put((inside.nonzero()[:, 0],), self.weight[place[inside]]))

    @torch.no_grad()
    def _sample(self, place: Tensor, inside: Tensor) -> Tensor:
        """Ascending places of the classes to compute with; all those of the batch among them."""
        chances = torch.rand(len(self.weight), device=place.device)
        chances[place[inside]] = 2.0
        positives = int((chances == 2.0).sum())
        count = max(int(self.sample_rate * len(self.weight)), positives)
        return chances.topk(count).indices.sort().values

    def get_extra_state(self) -> dict[str, int]:
        """Which classes the state is of."""
        return {"first": self.start, "count": len(self.weight), "of": self.num_classes}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Refuse the rows of other classes.

        Raises:
            ValueError: If the state is that of another process, or of another number of them.
        """
        if state != self.get_extra_state():
            raise ValueError(
                f"proxies: expected the state of {_classes(self.get_extra_state())}, found that of "
                f"{_classes(state)}; ShardedCheckpointHook writes what any process can read"
            )

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{_classes(self.get_extra_state())}, sample_rate={self.sample_rate}"


def sharded_proxies(module: nn.Module) -> dict[str, ShardedProxies]:
    """The sharded proxies in a module, by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, ShardedProxies)}


def _classes(state: dict[str, Any]) -> str:
    last = state["first"] + state["count"] - 1
    return f"classes {state['first']} … {last} of {state['of']}"


def _initial_rows(start: int, stop: int, width: int) -> Tensor:
    """Rows ``start`` … ``stop − 1`` of what is drawn, by the first process's generator."""
    seed = [int(torch.randint(2**31, ()))]
    if world_size() > 1:
        dist.broadcast_object_list(seed)
    rows = torch.empty(stop - start, width)
    for block in range(start // ROWS_PER_SEED, -(-stop // ROWS_PER_SEED)):
        first = block * ROWS_PER_SEED
        generator = torch.Generator().manual_seed(seed[0] + block)
        drawn = torch.empty(ROWS_PER_SEED, width).normal_(std=0.01, generator=generator)
        low, high = max(first, start), min(first + ROWS_PER_SEED, stop)
        rows[low - start : high - start] = drawn[low - first : high - first]
    return rows
