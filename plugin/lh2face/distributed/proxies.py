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

# Number of rows that are drawn with one seed. With a seed for each block of rows, the initial
# values do not depend on the number of processes.
ROWS_PER_SEED = 4096


@MODELS.register_module()
class ShardedProxies(nn.Module):
    """One vector per class, divided over the processes.

    Each process holds ``ceil(C / processes)`` classes; the last ones may hold fewer. The module
    must be called with the same rows and labels in all processes. Then it returns the same
    reductions, over all classes, in all of them.

    ``weight`` has only this process's rows. So ``DistributedDataParallel`` must not synchronise it.
    An ordinary checkpoint would contain one process's part only;
    :mod:`lh2face.distributed.checkpoint` writes all parts.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        sample_rate: Share of a process's classes to use in a training step, in (0, 1]: the classes
            of the batch, and random others (Partial FC, An et al., CVPR 2022, arXiv 2203.15565).

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

        All arguments must be the same in every process.

        Args:
            rows: ``(R, d)`` unit embeddings times a scale, or embeddings.
            labels: ``(R,)`` int64 in 0 … C − 1.
            offset: ``(S,)`` offsets of the first S ≤ R rows in ``columns``; ``None`` if ``columns``
                is not needed.
            anchor_scale: μ, a scalar. If given, R rows ``μ ŵ_y`` are appended, one per label.
            hard: Rule that changes the negatives.

        Returns:
            The reductions, the same in every process. If classes are sampled, ``negatives`` and
            ``columns`` are over the sampled classes only.
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
        """Compute the similarities ``(R,)`` of rows to their labels' proxies, without gradient."""
        return (rows * unit(self._own(*self._locate(labels)))).sum(1)

    def scores(self, rows: Tensor) -> Tensor:
        """Compute the similarities ``(R, C)`` of rows ``(R, d)`` to all proxies, for prediction.

        Raises:
            ValueError: If this process does not hold all classes.
        """
        if len(self.weight) < self.num_classes:
            raise ValueError(
                f"proxies: expected all classes in this process, to predict one of them, found "
                f"{_classes(self.get_extra_state())}; validate by embeddings, or in one process"
            )
        return rows @ unit(self.weight).T

    def _locate(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return each label's row in ``weight``, and whether this process holds the class."""
        place = labels - self.start
        return place, (place >= 0) & (place < len(self.weight))

    def _own(self, place: Tensor, inside: Tensor) -> Tensor:
        """Return the proxies ``(R, d)`` of the labels, wherever they are held."""
        own = self.weight.new_zeros(len(place), self.in_channels)
        return sum_parts(own.index_put((inside.nonzero()[:, 0],), self.weight[place[inside]]))

    @torch.no_grad()
    def _sample(self, place: Tensor, inside: Tensor) -> Tensor:
        """Draw the rows of ``weight`` to use, ascending; those of the batch are among them."""
        chances = torch.rand(len(self.weight), device=place.device)
        chances[place[inside]] = 2.0
        positives = int((chances == 2.0).sum())
        count = max(int(self.sample_rate * len(self.weight)), positives)
        return chances.topk(count).indices.sort().values

    def get_extra_state(self) -> dict[str, int]:
        """Return the range of classes to which the state belongs."""
        return {"first": self.start, "count": len(self.weight), "of": self.num_classes}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Check that a loaded state belongs to the classes of this process.

        Raises:
            ValueError: If it does not, because another process or number of processes saved it.
        """
        if state != self.get_extra_state():
            raise ValueError(
                f"proxies: expected the state of {_classes(self.get_extra_state())}, found that of "
                f"{_classes(state)}; checkpoints of ShardedCheckpointHook fit any process"
            )

    def extra_repr(self) -> str:
        """Return the text in ``repr``: the range of classes, and the sample rate."""
        return f"{_classes(self.get_extra_state())}, sample_rate={self.sample_rate}"


def sharded_proxies(module: nn.Module) -> dict[str, ShardedProxies]:
    """Return the sharded proxies in a module, by name."""
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
