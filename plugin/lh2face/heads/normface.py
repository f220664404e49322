"""NormFace (Wang et al., ACM MM 2017)."""

from typing import Any

from torch import Tensor

from lh2face.arguments import positive
from lh2face.functional.margins import margin_cross_entropy
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS


@MODELS.register_module()
class NormFaceHead(ProxyHead):
    """Softmax over ``s cosθ`` (arXiv 1704.06369, eq. 6).

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        scale: s > 0. It is learnt in the paper, but fixed here, as in later methods.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        ``head = dict(type="NormFaceHead", num_classes=1000, in_channels=512)``
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        scale: float = 64.0,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = positive("scale", scale)

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss``, the cross-entropy: a scalar."""
        found = self.proxies(self.rows(embeddings), labels)
        return {"loss": margin_cross_entropy(found.target, found.negatives)}
