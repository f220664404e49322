"""CosFace (Wang et al., CVPR 2018)."""

import torch.nn.functional as F
from torch import Tensor

from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS


@MODELS.register_module()
class CosFaceHead(ProxyHead):
    """Softmax over ``s cosθ`` with ``s (cosθ_y − m)`` for the target (arXiv 1801.09414, eq. 4).

    Args:
        num_classes: Number of identities C.
        in_channels: Size d of the embedding.
        scale: s.
        margin: m.

    Example:
        ``head = dict(type="CosFaceHead", num_classes=1000, in_channels=512)``
    """

    def __init__(
        self, num_classes: int, in_channels: int = 512, scale: float = 64.0, margin: float = 0.35
    ) -> None:
        super().__init__(num_classes, in_channels)
        self.scale = scale
        self.margin = margin

    def loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy with the margin.

        Args:
            embeddings: ``(B, d)``, not normalised.
            labels: ``(B,)`` int64.

        Returns:
            ``loss``, a scalar.

        Raises:
            ValueError: As :meth:`ProxyHead.check`.
        """
        self.check(embeddings, labels)
        margins = F.one_hot(labels, len(self.weight)) * self.margin
        return {"loss": F.cross_entropy(self.scale * (self.cosines(embeddings) - margins), labels)}
