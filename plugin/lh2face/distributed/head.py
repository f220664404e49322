"""A wrapper that divides the classes of any head over the processes of a training run."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lh2face.distributed.collectives import concatenate, world_size
from lh2face.registry import MODELS


@MODELS.register_module()
class ShardedHead(nn.Module):
    """Compute a head's loss over the batch of all processes, each holding a part of the classes.

    The loss is over the whole batch and all classes. It is the same in every process and does not
    depend on their number. The network must be wrapped in ``DistributedDataParallel``: that
    averages the gradients of the parameters over the processes, so the gradient of the embeddings
    is multiplied by the number of processes.

    Args:
        head: Config of the head.
        sample_rate: Share of the classes to use in a training step; see :class:`ShardedProxies`.
        num_classes: Number of classes, unless ``head`` gives it.
        in_channels: Size of the embedding, unless ``head`` gives it.

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
        """Call ``pre_logits`` of the head."""
        rows: Tensor = self.head.pre_logits(embeddings)
        return rows

    def forward(self, embeddings: Tensor | Sequence[Tensor]) -> Tensor:
        """Call the head for logits ``(B, C)``; only possible if one process has all classes."""
        logits: Tensor = self.head(embeddings)
        return logits

    def predict(
        self, embeddings: Tensor | Sequence[Tensor], data_samples: Sequence[Any] | None = None
    ) -> list[Any]:
        """Call ``predict`` of the head; only possible if one process has all classes."""
        samples: list[Any] = self.head.predict(embeddings, data_samples)
        return samples

    def loss(
        self, embeddings: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Any]
    ) -> dict[str, Tensor]:
        """Compute the head's loss terms over the batch of all processes.

        Args:
            embeddings: ``(B, d)`` of this process, not normalised.
            labels: ``(B,)`` int64 of this process.

        Returns:
            The head's scalars.

        Raises:
            ValueError: If the head raises it.
        """
        rows, classes = self.head.prepare(embeddings, labels)
        gathered = concatenate(rows, gradient_scale=float(world_size()))
        terms: dict[str, Tensor] = self.head.terms(gathered, concatenate(classes))
        return terms
