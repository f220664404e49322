"""Heads in AdaFace's own training (github.com/mk-minchul/AdaFace), its files untouched."""

from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from lh2face.adapters.metric_learning import HeadLoss


def install(head: ModuleType, train_val: ModuleType, config: dict[str, Any]) -> None:
    """Have its trainer build this head, and train on the head's own loss.

    The trainer's ``--head``, ``--m``, ``--h``, ``--s`` and ``--t_alpha`` are not used any more.

    Args:
        head: Its module ``head``.
        train_val: Its module ``train_val``.
        config: Config of the head, without the numbers of identities and channels, which its
            trainer gives.
    """
    head.build_head = partial(_build_head, config)
    train_val.CrossEntropyLoss = _LossOfHead


class _Head(HeadLoss):
    """Called as a head there: unit embeddings ``(B, d)``, norms ``(B, 1)``, labels ``(B,)``."""

    def forward(self, embbedings: Tensor, norms: Tensor, label: Tensor) -> Tensor:
        return super().forward(embbedings.float() * norms.float(), label)

    @property
    def kernel(self) -> nn.Parameter:
        """What its optimizer trains of a head."""
        return self.head.proxies.weight


class _LossOfHead(nn.Module):
    """In the place of the cross-entropy over a head's logits: the head gave the loss itself."""

    def forward(self, loss: Tensor, labels: Tensor) -> Tensor:
        return loss


def _build_head(config: dict[str, Any], *, embedding_size: int, class_num: int, **_: Any) -> _Head:
    return _Head(**config, num_classes=class_num, in_channels=embedding_size)
