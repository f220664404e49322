"""Proxy-Anchor (Kim et al., CVPR 2020)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from lh2face.arguments import between, positive
from lh2face.functional.margins import positive_proxy_loss
from lh2face.functional.similarities import unit
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS


@MODELS.register_module()
class ProxyAnchorHead(ProxyHead):
    """Proxies attract the samples of their class and repel the others (arXiv 2003.13911, eq. 4).

    ``mean_{p∈P+} log(1 + Σ_{i∈p} exp(−α (cos − δ))) + mean_p log(1 + Σ_{i∉p} exp(α (cos + δ)))``

    Here p is a class, P+ the set of classes in the batch, i a sample, and cos the cosine of sample
    i and the proxy of class p.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        scale: α > 0.
        margin: δ in [0, 2], a difference of cosines.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        ``head = dict(type="ProxyAnchorHead", num_classes=1000, in_channels=512)``
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        scale: float = 32.0,
        margin: float = 0.1,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = positive("scale", scale)
        self.margin = between("margin", margin, 0, 2)

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the two terms, ``loss_positive`` and ``loss_negative``: scalars."""
        rows = self.scale * unit(embeddings)
        margin = self.scale * self.margin
        found = self.proxies(rows, labels, offset=rows.new_full((len(rows),), margin))
        return {
            "loss_positive": positive_proxy_loss(found.target - margin, labels),
            "loss_negative": F.softplus(found.columns).mean(),
        }
