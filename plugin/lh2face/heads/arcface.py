"""ArcFace (Deng et al., CVPR 2019)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS

# Keeps the slope of sqrt(1 − cos²) finite at cosθ = ±1.
TINY = 1e-12


@MODELS.register_module()
class ArcFaceHead(ProxyHead):
    """Softmax over ``s cosθ`` with ``s cos(θ_y + m)`` for the target (arXiv 1801.07698, eq. 3).

    Past θ = π − m, where ``cos(θ + m)`` would rise again, the target is ``s (cosθ − m sin m)``, as
    the authors' code has it.

    Args:
        num_classes: Number of identities C.
        in_channels: Size d of the embedding.
        scale: s.
        margin: m in rad.

    Example:
        ``head = dict(type="ArcFaceHead", num_classes=1000, in_channels=512)``
    """

    def __init__(
        self, num_classes: int, in_channels: int = 512, scale: float = 64.0, margin: float = 0.5
    ) -> None:
        super().__init__(num_classes, in_channels)
        self.scale = scale
        self.margin = margin

    def loss(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy with the angular margin.

        Args:
            embeddings: ``(B, d)``, not normalised.
            labels: ``(B,)`` int64.

        Returns:
            ``loss``, a scalar.

        Raises:
            ValueError: As :meth:`ProxyHead.check`.
        """
        self.check(embeddings, labels)
        cos = self.cosines(embeddings)
        target = cos.gather(1, labels[:, None])
        sin = (1 - target.square()).clamp_min(TINY).sqrt()
        with_margin = torch.where(
            target > -math.cos(self.margin),
            target * math.cos(self.margin) - sin * math.sin(self.margin),
            target - self.margin * math.sin(self.margin),
        )
        logits = self.scale * cos.scatter(1, labels[:, None], with_margin)
        return {"loss": F.cross_entropy(logits, labels)}
