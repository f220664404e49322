"""Use this package's heads in CVLface's unmodified script (github.com/mk-minchul/CVLface)."""

from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor

from lh2face.adapters.metric_learning import BuiltHead


def install(classifiers: ModuleType, config: dict[str, Any]) -> None:
    """Replace CVLface's classifiers ``fc`` and ``partial_fc`` by a head of this package.

    ``partial_fc`` divides the classes over the processes and uses its ``sample_rate``; ``fc`` keeps
    all classes in each process. The margin loss in CVLface's config has no effect. With
    ``partial_fc``, a run must be resumed with the same number of processes.

    Args:
        classifiers: CVLface's package ``classifiers``.
        config: Config of the head without ``num_classes`` and ``in_channels``, which CVLface sets.
    """
    classifiers.fc.FC = partial(_Whole, config)
    classifiers.partial_fc.PartialFC_V2 = partial(_Sharded, config)


class _Classifier(BuiltHead):
    def forward(self, local_embeddings: Tensor, local_labels: Tensor) -> Tensor:
        return self.loss(local_embeddings, local_labels.view(-1).long())


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
        # Pad to equal numbers of classes per process, as CVLface's own Partial FC and check do.
        num_classes += -num_classes % world_size
        size = {"num_classes": num_classes, "in_channels": embedding_size}
        super().__init__(type="ShardedHead", head=config, sample_rate=sample_rate, **size)
