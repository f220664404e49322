"""Any head with its classes divided over the processes of a training run."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lh2face.distributed.collectives import concatenate, world_size
from lh2face.registry import MODELS


@MODELS.register_module()
class ShardedHead(nn.Module):
    """A head on the batch of all processes, each of which holds a part of the classes.

    The loss is that of the whole batch and all classes, the same in every process and for any
    number of them. It is made for a network in ``DistributedDataParallel``: the embeddings'
    gradient is that of the loss times the number of processes, because their average is taken of
    what the network's parameters get from it.

    Args:
        head: Config of the head.
        sample_rate: Share of the classes that a training step computes with; see
            :class:`ShardedProxies`.
        num_classes: That of the head, where a pipeline sets it here.
        in_channels: Likewise.

    Example:
        ``head = dict(type="ShardedHead", sample_rate=0.1,
        head=dict(type="LH2FaceHead", num_classes=1_000_000))``
    """

    def __init__(
        self,
        head: dict[str, Any],
        sample_rate: float = 1.0,
        num_classes: int | None = None,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        proxies = {"type": "ShardedProxies", "sample_rate": sample_rate}
        sizes = {"num_classes": num_classes, "in_channels": in_channels}
        given = {name: size for name, size in sizes.items() if size is not None}
        self.head = MODELS.build({**given, **head, "proxies": proxies})

    def pre_logits(self, embeddings: Tensor | Sequence[Tensor]) -> Tensor:
        """As the head's."""
        return self.head.pre_logits(embeddings)

    def forward(self, embeddings: Tensor | Sequence[Tensor]) -> Tensor:
        """As the head's, where one process has all classes."""
        return self.head(embeddings)

    def predict(
        self, embeddings: Tensor | Sequence[Tensor], data_samples: Sequence[Any] | None = None
    ) -> list[Any]:
        """As the head's, where one process has all classes."""
        return self.head.predict(embeddings, data_samples)

    def loss(
        self, embeddings: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Any]
    ) -> dict[str, Tensor]:
        """The head's loss terms over the batch of all processes.

        Args:
            embeddings: As the head takes them, of this process.
            labels: As the head takes them, of this process.

        Returns:
            What the head returns.

        Raises:
            ValueError: As the head does.
        """
        embeddings, labels = self.head.prepare(embeddings, labels)
        gathered = concatenate(embeddings, gradient_scale=float(world_size()))
        return self.head.terms(gathered, concatenate(labels))
