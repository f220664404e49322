"""CosFace (Wang et al., CVPR 2018)."""

from typing import Any

from torch import Tensor

from lh2face.arguments import between, positive
from lh2face.functional.margins import margin_cross_entropy
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS


@MODELS.register_module()
class CosFaceHead(ProxyHead):
    """Softmax over ``s cosθ`` with ``s (cosθ_y − m)`` for the target (arXiv 1801.09414, eq. 4).

    The default margin is the paper's; in arcface_torch it is 0.4. arcface_torch limits the loss
    that it reports for a sample to 69.08 (−log 1e-30), but not the gradient; this head does not
    limit it.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        scale: s > 0.
        margin: m in [0, 2], a difference of cosines.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        ``head = dict(type="CosFaceHead", num_classes=1000, in_channels=512)``
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        scale: float = 64.0,
        margin: float = 0.35,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = positive("scale", scale)
        self.margin = between("margin", margin, 0, 2)

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss``, the cross-entropy: a scalar."""
        found = self.proxies(self.rows(embeddings), labels)
        target = found.target - self.scale * self.margin
        return {"loss": margin_cross_entropy(target, found.negatives)}
