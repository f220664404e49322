"""CurricularFace (Huang et al., CVPR 2020)."""

import math
from typing import Any

import torch
from torch import Tensor

from lh2face.arguments import between, positive
from lh2face.functional.margins import angular_margin, margin_cross_entropy
from lh2face.functional.similarities import HardNegatives, unit
from lh2face.heads.proxy_head import ProxyHead, mean_over_ranks
from lh2face.registry import MODELS


@MODELS.register_module()
class CurricularFaceHead(ProxyHead):
    """ArcFace with a growing weight of hard negatives (arXiv 2004.00288, eq. 8 to 12).

    The target's logit is ArcFace's, ``s cos(θ_y + m)``. A negative with ``cosθ_j > cos(θ_y + m)``
    is hard; its logit is ``s cosθ_j (t + cosθ_j)`` instead of ``s cosθ_j``. t is a running mean of
    the targets' cosines, so it grows in training.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        scale: s > 0.
        margin: m in rad, in [0, π].
        momentum: Weight of the current batch in the running mean t, in [0, 1].
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        ``head = dict(type="CurricularFaceHead", num_classes=1000, in_channels=512)``
    """

    boost: Tensor

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        scale: float = 64.0,
        margin: float = 0.5,
        momentum: float = 0.01,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = positive("scale", scale)
        self.margin = between("margin", margin, 0, math.pi)
        self.momentum = between("momentum", momentum, 0, 1)
        self.register_buffer("boost", torch.zeros(()))

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss``, the cross-entropy, and the statistic ``boost``, which is t: scalars."""
        rows = self.scale * unit(embeddings)
        cos = self.proxies.target(rows, labels) / self.scale
        if self.training:
            self.boost.lerp_(mean_over_ranks(cos.mean()).to(self.boost.dtype), self.momentum)
        boost = self.boost.to(rows.dtype, copy=True)
        threshold = self.scale * (cos.clamp(-1, 1).acos() + self.margin).cos()
        found = self.proxies(rows, labels, hard=HardNegatives(threshold, boost, self.scale))
        target = self.scale * angular_margin(found.target / self.scale, self.margin)
        return {"loss": margin_cross_entropy(target, found.negatives), "boost": boost}
