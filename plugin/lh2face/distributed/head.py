"""A wrapper that divides the classes of any head over the processes of a training run."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from lh2face.distributed.collectives import concatenate, world_size
from lh2face.registry import MODELS


@MODELS.register_module()
class ShardedHead(nn.Module):
    """A head whose classes are divided over the processes; each process holds a part of them.

    The loss is computed over the batch of all processes and all classes. It is the same in every
    process, and does not depend on the number of processes. The network must be wrapped in
    ``DistributedDataParallel``. That averages the gradients of the network's parameters over the
    processes, so this head multiplies the gradient of the embeddings by the number of processes.

    Args:
        head: Config of the head.
        sample_rate: Share of the classes to use in a training step, in (0, 1]: the classes of the
            batch, and random others.
        num_classes: Number of classes; ``None`` if ``head`` gives it.
        in_channels: Size d of the embedding; ``None`` if ``head`` gives it.

    Raises:
        ValueError: If the sample rate or an argument of the head is out of its range.

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
        """Return the embeddings ``(B, d)``, as ``pre_logits`` of the head does."""
        rows: Tensor = self.head.pre_logits(embeddings)
        return rows

    def forward(self, embeddings: Tensor | Sequence[Tensor]) -> Tensor:
        """Compute the head's logits ``(B, C)``.

        Raises:
            ValueError: If this process does not hold all classes.
        """
        logits: Tensor = self.head(embeddings)
        return logits

    def predict(
        self, embeddings: Tensor | Sequence[Tensor], data_samples: Sequence[Any] | None = None
    ) -> list[Any]:
        """Predict as the head does, for mmpretrain.

        Raises:
            ValueError: If this process does not hold all classes.
        """
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
            The head's loss terms and statistics: scalars, the same in every process.

        Raises:
            ValueError: If shapes or types do not fit, the batch of this process is empty, an
                embedding is not finite, or a label is outside 0 … C − 1.
        """
        rows, classes = self.head.prepare(embeddings, labels)
        gathered = concatenate(rows, gradient_scale=float(world_size()))
        terms: dict[str, Tensor] = self.head.terms(gathered, concatenate(classes))
        return terms
