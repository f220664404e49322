"""AdaFace (Kim et al., CVPR 2022)."""

import math
from typing import Any

import torch
from torch import Tensor

from lh2face.arguments import between, positive
from lh2face.functional.margins import margin_cross_entropy
from lh2face.functional.similarities import length
from lh2face.heads.proxy_head import ProxyHead, mean_over_ranks
from lh2face.registry import MODELS

# Bounds from the authors' code: the distance of cosines and angles from the ends of their ranges,
# the range of norms, and a number that is added to the norms' standard deviation.
ANGLE_EPSILON, NORM_BOUNDS, DEVIATION_EPSILON = 1e-3, (1e-3, 100.0), 1e-3


@MODELS.register_module()
class AdaFaceHead(ProxyHead):
    """Softmax whose margin changes from additive to angular as the norm falls (arXiv 2204.00964).

    The target's logit is ``s (cos(θ_y − m ẑ) − (m + m ẑ))``, the others are ``s cosθ_j``. The
    normalised norm ``ẑ = (|z| − μ) / (σ / h)`` is clamped to [−1, 1] and has no gradient (eq. 16 to
    19). μ and σ are the running mean and standard deviation of the norms.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        scale: s > 0.
        margin: m in [0, π]; in rad in the angular part.
        concentration: h > 0; the larger, the more images reach ẑ = −1 or 1.
        momentum: Weight of the current batch in μ and σ, in [0, 1].
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        ``head = dict(type="AdaFaceHead", num_classes=1000, in_channels=512)``
    """

    norm_mean: Tensor
    norm_deviation: Tensor

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        scale: float = 64.0,
        margin: float = 0.4,
        concentration: float = 0.333,
        momentum: float = 0.01,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = positive("scale", scale)
        self.margin = between("margin", margin, 0, math.pi)
        self.concentration = positive("concentration", concentration)
        self.momentum = between("momentum", momentum, 0, 1)
        # The initial values of the authors' code.
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_deviation", torch.tensor(100.0))

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss``, the cross-entropy: a scalar."""
        norms = length(embeddings.detach()).clamp(*NORM_BOUNDS)
        if self.training:
            self._update(norms)
        spread = (self.norm_deviation + DEVIATION_EPSILON) / self.concentration
        quality = ((norms - self.norm_mean) / spread).clamp(-1, 1).to(norms.dtype)

        found = self.proxies(self.rows(embeddings), labels)
        cos = (found.target / self.scale).clamp(-1 + ANGLE_EPSILON, 1 - ANGLE_EPSILON)
        angle = (cos.acos() - self.margin * quality).clamp(ANGLE_EPSILON, math.pi - ANGLE_EPSILON)
        target = self.scale * (angle.cos() - self.margin * (1 + quality))
        return {"loss": margin_cross_entropy(target, found.negatives)}

    @torch.no_grad()
    def _update(self, norms: Tensor) -> None:
        self.norm_mean.lerp_(mean_over_ranks(norms.mean()).to(self.norm_mean.dtype), self.momentum)
        if len(norms) > 1:  # one sample has no standard deviation
            deviation = mean_over_ranks(norms.std()).to(self.norm_deviation.dtype)
            self.norm_deviation.lerp_(deviation, self.momentum)
