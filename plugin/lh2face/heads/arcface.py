"""ArcFace (Deng et al., CVPR 2019)."""

from typing import Any

from torch import Tensor

from lh2face.functional.margins import angular_margin, margin_cross_entropy
from lh2face.functional.similarities import unit
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS


@MODELS.register_module()
class ArcFaceHead(ProxyHead):
    """Softmax over ``s cosθ`` with ``s cos(θ_y + m)`` for the target (arXiv 1801.07698, eq. 3).

    Args:
        num_classes: Number of identities C.
        in_channels: Size d of the embedding.
        scale: s.
        margin: m in rad; past θ = π − m see :func:`angular_margin`.
        proxies: See :class:`ProxyHead`.

    Example:
        ``head = dict(type="ArcFaceHead", num_classes=1000, in_channels=512)``
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        scale: float = 64.0,
        margin: float = 0.5,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = scale
        self.margin = margin

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """``loss``, the cross-entropy."""
        found = self.proxies(self.scale * unit(embeddings), labels)
        target = self.scale * angular_margin(found.target / self.scale, self.margin)
        return {"loss": margin_cross_entropy(target, found.negatives)}
