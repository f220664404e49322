"""Use this package's heads in AdaFace's unmodified script (github.com/mk-minchul/AdaFace)."""

from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from lh2face.adapters.metric_learning import BuiltHead


def install(head: ModuleType, train_val: ModuleType, config: dict[str, Any]) -> None:
    """Replace AdaFace's head by one of this package, and its cross-entropy by that head's loss.

    AdaFace's options ``--head``, ``--m``, ``--h``, ``--s`` and ``--t_alpha`` then have no effect.

    Args:
        head: AdaFace's module ``head``.
        train_val: AdaFace's module ``train_val``.
        config: Config of the head without ``num_classes`` and ``in_channels``, which AdaFace sets.
    """
    vars(head)["build_head"] = partial(_build_head, config)
    vars(train_val)["CrossEntropyLoss"] = _LossOfHead


class _Head(BuiltHead):
    """A head with AdaFace's interface: unit embeddings ``(B, d)``, norms ``(B, 1)``, labels."""

    def forward(self, embbedings: Tensor, norms: Tensor, label: Tensor) -> Tensor:
        return self.loss(embbedings.float() * norms.float(), label)

    @property
    def kernel(self) -> nn.Parameter:
        """The proxies ``(C, d)``; AdaFace passes this parameter to its optimizer."""
        weight: nn.Parameter = self.head.proxies.weight
        return weight


class _LossOfHead(nn.Module):
    """Replacement of the cross-entropy: it returns the loss that the head has computed."""

    def forward(self, loss: Tensor, labels: Tensor) -> Tensor:
        return loss


def _build_head(config: dict[str, Any], *, embedding_size: int, class_num: int, **_: Any) -> _Head:
    return _Head(**config, num_classes=class_num, in_channels=embedding_size)
