"""What every head with one proxy a class shares: the proxies, and the check of its input."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lh2face.functional.similarities import (
    HardNegatives,
    Similarities,
    proxy_similarities,
    shortened,
    unit,
)
from lh2face.heads.arguments import at_least
from lh2face.registry import MODELS


@MODELS.register_module()
class Proxies(nn.Module):
    """One vector ``weight (C, d)`` a class, all in one process.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.

    Raises:
        ValueError: If a number is not in its range.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.num_classes = at_least("num_classes", num_classes, 1)
        self.in_channels = at_least("in_channels", in_channels, 1)
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels).normal_(std=0.01))

    def forward(
        self,
        rows: Tensor,
        labels: Tensor,
        *,
        offset: Tensor | None = None,
        anchor_scale: Tensor | None = None,
        hard: HardNegatives | None = None,
    ) -> Similarities:
        """As :func:`lh2face.functional.similarities.proxy_similarities`."""
        return proxy_similarities(
            rows, self.weight, labels, offset=offset, anchor_scale=anchor_scale, hard=hard
        )

    @torch.no_grad()
    def target(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Similarity ``(R,)`` of each row to its own proxy alone, without gradient."""
        return (rows * unit(self.weight[labels])).sum(1)


class ProxyHead(nn.Module):
    """Base of the heads: the proxies, and ``loss(embeddings, labels)``; a head gives the terms.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 512, proxies: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.proxies = MODELS.build(
            {
                **(proxies or {"type": "Proxies"}),
                "num_classes": num_classes,
                "in_channels": in_channels,
            }
        )

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What :meth:`loss` returns, of arguments that :meth:`prepare` gave."""
        raise NotImplementedError

    def loss(
        self, embeddings: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Any], **_: Any
    ) -> dict[str, Tensor]:
        """Terms of the loss; mmengine sums those with "loss" in their names.

        Args:
            embeddings: ``(B, d)``, not normalised: the norm is κ. Or a sequence that ends with
                them, as mmpretrain's backbones give. Any finite value gives finite losses and
                gradients; a gradient has the type of the embeddings, and one in float16 overflows,
                for a loss scaler to see, where |z| is below about s / 65504. Under autocast to
                float16, entries and their products with proxies must be below 65504.
            labels: ``(B,)`` int64. Or mmpretrain's B data samples.

        Returns:
            Scalars; a statistic has no "loss" in its name.

        Raises:
            ValueError: If shapes or types do not fit, the batch is empty, an embedding is not
                finite, or a label is outside 0 … C − 1.
        """
        return self.terms(*self.prepare(embeddings, labels))

    def prepare(
        self, embeddings: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Any]
    ) -> tuple[Tensor, Tensor]:
        """The arguments of :meth:`loss` as checked tensors, the embeddings :func:`shortened`."""
        embeddings, labels = as_tensors(embeddings, labels)
        self.check(embeddings, labels)
        return shortened(embeddings), labels

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """Raise what is wrong with the arguments of :meth:`loss`, by one look at the device."""
        num_classes, in_channels = self.proxies.num_classes, self.proxies.in_channels
        if embeddings.ndim != 2 or embeddings.shape[1] != in_channels:
            raise ValueError(
                f"embeddings: expected (B, {in_channels}), found {tuple(embeddings.shape)}"
            )
        if len(embeddings) == 0:
            raise ValueError("embeddings: expected at least one, found an empty batch")
        if labels.shape != embeddings.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(
                f"labels: expected ({len(embeddings)},) of int64, found {tuple(labels.shape)} of "
                f"{labels.dtype}"
            )
        low, high = labels.aminmax()
        finite = embeddings.isfinite().all()
        low, high, finite = torch.stack([low, high, finite.long()]).tolist()
        if not finite:
            raise ValueError("embeddings: expected finite numbers, found NaN or infinity")
        if low < 0 or high >= num_classes:
            raise ValueError(f"labels: expected 0 … {num_classes - 1}, found {low} … {high}")


def as_tensors(
    embeddings: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Any]
) -> tuple[Tensor, Tensor]:
    """The arguments of :meth:`ProxyHead.loss`, as they are or out of mmpretrain's."""
    if not isinstance(embeddings, Tensor):
        embeddings = embeddings[-1]
    if not isinstance(labels, Tensor):
        labels = torch.cat([sample.gt_label for sample in labels])
    return embeddings, labels


@torch.no_grad()
def mean_over_ranks(statistic: Tensor) -> Tensor:
    """Mean of a batch statistic over the processes of a training run; itself where there is one."""
    statistic = statistic.detach().clone()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(statistic)
        statistic /= dist.get_world_size()
    return statistic
