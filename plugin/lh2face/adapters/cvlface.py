"""Heads in CVLface's own training (github.com/mk-minchul/CVLface), its files untouched."""

from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor

from lh2face.adapters.metric_learning import HeadLoss


def install(classifiers: ModuleType, config: dict[str, Any]) -> None:
    """Have it build this head where it would build a classifier, ``fc`` or ``partial_fc``.

    ``partial_fc`` divides the classes over the processes and uses its ``sample_rate``; ``fc`` holds
    all of them in each. The margin loss of its config is not used. With ``partial_fc`` a run must
    resume on the number of processes that it was started with.

    Args:
        classifiers: Its package ``classifiers``.
        config: Config of the head, without the numbers of identities and channels, which its
            trainer gives.
    """
    classifiers.fc.FC = partial(_Whole, config)
    classifiers.partial_fc.PartialFC_V2 = partial(_Sharded, config)


class _Classifier(HeadLoss):
    def forward(self, local_embeddings: Tensor, local_labels: Tensor) -> Tensor:
        return super().forward(local_embeddings, local_labels.view(-1).long())


class _Whole(_Classifier):
    def __init__(
        self, config: dict[str, Any], *, margin_loss: Any, embedding_size: int, num_classes: int
    ) -> None:
        super().__init__(**config, num_classes=num_classes, in_channels=embedding_size)


class _Sharded(_Classifier):
    def __init__(
        self,
        config: dict[str, Any],
        *,
        rank: int,
        world_size: int,
        margin_loss: Any,
        embedding_size: int,
        num_classes: int,
        sample_rate: float = 1.0,
    ) -> None:
        # As many in each process, as its own Partial FC has: its check compares them.
        num_classes += -num_classes % world_size
        size = {"num_classes": num_classes, "in_channels": embedding_size}
        super().__init__(type="ShardedHead", head=config, sample_rate=sample_rate, **size)
