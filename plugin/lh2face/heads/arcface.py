"""ArcFace (Deng et al., CVPR 2019)."""

import math
from typing import Any

from torch import Tensor

from lh2face.arguments import between, positive
from lh2face.functional.margins import (
    angular_margin,
    margin_cross_entropy,
    straight_through_margin,
)
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS


@MODELS.register_module()
class ArcFaceHead(ProxyHead):
    """Softmax over ``s cosθ`` with ``s cos(θ_y + m)`` for the target (arXiv 1801.07698, eq. 3).

    By default the gradient is exact. arcface_torch computes the arc cosine and the cosine without
    gradient, so its gradient ignores the margin. It also uses ``cos(θ_y + m)`` for every θ_y. With
    ``straight_through``, this head does both as well. arcface_torch limits the loss that it reports
    for a sample to 69.08 (−log 1e-30), but not the gradient; this head does not limit it.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        scale: s > 0.
        margin: m in rad, in [0, π]. Beyond θ = π − m, ``cosθ − m sin m`` replaces ``cos(θ + m)``,
            which would rise again.
        straight_through: Whether to compute loss and gradient as arcface_torch does.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        ``head = dict(type="ArcFaceHead", num_classes=1000, in_channels=512)``
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        scale: float = 64.0,
        margin: float = 0.5,
        straight_through: bool = False,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = positive("scale", scale)
        self.margin = between("margin", margin, 0, math.pi)
        self.straight_through = straight_through

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss``, the cross-entropy: a scalar."""
        found = self.proxies(self.rows(embeddings), labels)
        cos = found.target / self.scale
        margin = straight_through_margin if self.straight_through else angular_margin
        target = self.scale * margin(cos, self.margin)
        return {"loss": margin_cross_entropy(target, found.negatives)}
