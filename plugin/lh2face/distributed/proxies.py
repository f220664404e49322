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

# Rows per seed. With a seed per block, the initial values do not depend on the number of processes.
ROWS_PER_SEED = 4096


@MODELS.register_module()
class ShardedProxies(nn.Module):
    """One vector per class, divided over the processes.

    Each process holds ``ceil(C / processes)`` classes; the last ones hold fewer. All processes
    must be called with the same rows and labels; all get the same reductions over all classes.

    ``weight`` has only this process's rows. So ``DistributedDataParallel`` must not synchronise it,
    and an ordinary checkpoint would contain one process's part only (see
    :mod:`lh2face.distributed.checkpoint`).

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding.
        sample_rate: Share of a process's classes to use in a training step, in (0, 1]. These are
            the classes of the batch and random others (Partial FC, arXiv 2203.15565).

    Attributes:
        weight: ``(n, d)``: the rows of the classes ``start`` … ``start + n − 1``.
        start: First class of this process.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, num_classes: int, in_channels: int, sample_rate: float = 1.0) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, found {num_classes}")
        if not 0 < sample_rate <= 1:
            raise ValueError(f"sample_rate: expected a share in (0, 1], found {sample_rate!r}")
        self.num_classes, self.in_channels = num_classes, in_channels
        self.sample_rate = sample_rate
        # The same division as DTensor's, which the checkpoints use.
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
        """Compute :func:`lh2face.functional.similarities.proxy_similarities` over all processes.

        All arguments must be the same in every process; that function describes those not listed.

        Args:
            rows: ``(R, d)``.
            labels: ``(R,)`` int64 in 0 … C − 1.
            offset: See there.
            anchor_scale: See there.
            hard: See there.

        Returns:
            The same in every process; ``columns`` has the sampled classes only.
        """
        place, inside = self._locate(labels)
        if anchor_scale is not None:
            rows = torch.cat([rows, anchor_scale * unit(self._own(place, inside))])
            place, inside = place.repeat(2), inside.repeat(2)
        weight: Tensor = self.weight
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
        """Similarity ``(R,)`` of each row to the proxy of its label, without gradient."""
        return (rows * unit(self._own(*self._locate(labels)))).sum(1)

    def scores(self, rows: Tensor) -> Tensor:
        """Similarities ``(R, C)`` of rows ``(R, d)`` to all proxies, for prediction.

        Raises:
            ValueError: If this process does not hold all classes.
        """
        if len(self.weight) < self.num_classes:
            raise ValueError(
                f"proxies: expected all classes in one process to predict among them, found "
                f"{_classes(self.get_extra_state())}; validate by embeddings, or in one process"
            )
        return rows @ unit(self.weight).T

    def _locate(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Row of each label in ``weight``, and whether this process holds that class."""
        place = labels - self.start
        return place, (place >= 0) & (place < len(self.weight))

    def _own(self, place: Tensor, inside: Tensor) -> Tensor:
        """The proxies ``(R, d)`` of the labels, from whichever process holds them."""
        own = self.weight.new_zeros(len(place), self.in_channels)
        return sum_parts(own.index_put((inside.nonzero()[:, 0],), self.weight[place[inside]]))

    @torch.no_grad()
    def _sample(self, place: Tensor, inside: Tensor) -> Tensor:
        """Draw the rows of the classes to use, ascending; it includes all of the batch."""
        chances = torch.rand(len(self.weight), device=place.device)
        chances[place[inside]] = 2.0
        positives = int((chances == 2.0).sum())
        count = max(int(self.sample_rate * len(self.weight)), positives)
        return chances.topk(count).indices.sort().values

    def get_extra_state(self) -> dict[str, int]:
        """The range of classes to which the state belongs."""
        return {"first": self.start, "count": len(self.weight), "of": self.num_classes}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Check that a state belongs to the same classes.

        Raises:
            ValueError: If it comes from another process or another number of processes.
        """
        if state != self.get_extra_state():
            raise ValueError(
                f"proxies: expected the state of {_classes(self.get_extra_state())}, found that of "
                f"{_classes(state)}; ShardedCheckpointHook writes what any process can read"
            )

    def extra_repr(self) -> str:
        """Text in ``repr``: the range of classes, and the sample rate."""
        return f"{_classes(self.get_extra_state())}, sample_rate={self.sample_rate}"


def sharded_proxies(module: nn.Module) -> dict[str, ShardedProxies]:
    """The sharded proxies in a module, by name."""
    return {name: part for name, part in module.named_modules() if isinstance(part, ShardedProxies)}


def _classes(state: dict[str, Any]) -> str:
    last = state["first"] + state["count"] - 1
    return f"classes {state['first']} … {last} of {state['of']}"


def _initial_rows(start: int, stop: int, width: int) -> Tensor:
    """Draw the initial rows ``start`` … ``stop − 1``; the first process draws the seed."""
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
