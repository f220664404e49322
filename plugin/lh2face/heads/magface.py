"""MagFace (Meng et al., CVPR 2021)."""

import math
from typing import Any

from torch import Tensor

from lh2face.arguments import between, positive, rising
from lh2face.functional.margins import angular_margin, margin_cross_entropy
from lh2face.functional.similarities import length
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS

# Least allowed norm, because the loss divides by the norm.
MIN_NORM = 1e-3


@MODELS.register_module()
class MagFaceHead(ProxyHead):
    """ArcFace with a margin that grows with the norm, and a term that rewards large norms.

    The norm ``a = |z|`` is clamped to ``[l_a, u_a]``. The margin ``m(a)`` rises linearly from l_m
    at l_a to u_m at u_a, and the mean of ``λ_g (1/a + a/u_a²)`` is added to the loss
    (arXiv 2103.06627, eq. 3).

    The authors' code (IrvingMeng/MagFace) applies no margin to a target with ``cosθ ≤ 0``, which
    the paper does not mention. The default here is that of the code, because it produced the
    published results.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        scale: s > 0.
        norm_range: (l_a, u_a) with 0.001 ≤ l_a < u_a.
        margin_range: (l_m, u_m) in rad, with 0 ≤ l_m ≤ u_m ≤ π.
        norm_weight: λ_g ≥ 0.
        easy_margin: ``True``: no margin if ``cosθ ≤ 0``, as in the authors' code. ``False``: the
            paper's formula for every target, but ``cosθ − m sin m`` beyond θ = π − m.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        ``head = dict(type="MagFaceHead", num_classes=1000, in_channels=512)``
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        scale: float = 64.0,
        norm_range: tuple[float, float] = (10.0, 110.0),
        margin_range: tuple[float, float] = (0.45, 0.8),
        norm_weight: float = 35.0,
        easy_margin: bool = True,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = positive("scale", scale)
        self.norm_range = rising("norm_range", norm_range, MIN_NORM)
        if self.norm_range[0] == self.norm_range[1]:
            raise ValueError(f"norm_range: expected two different numbers, found {norm_range!r}")
        self.margin_range = rising("margin_range", margin_range, 0, math.pi)
        self.norm_weight = between("norm_weight", norm_weight, 0)
        self.easy_margin = easy_margin

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss_margin``, the cross-entropy, and ``loss_norm``: scalars."""
        (least, most), (least_margin, most_margin) = self.norm_range, self.margin_range
        norms = length(embeddings).clamp(least, most)
        margin = least_margin + (most_margin - least_margin) * (norms - least) / (most - least)
        found = self.proxies(self.rows(embeddings), labels)
        cos = angular_margin(found.target / self.scale, margin, easy=self.easy_margin)
        target = self.scale * cos
        return {
            "loss_margin": margin_cross_entropy(target, found.negatives),
            "loss_norm": self.norm_weight * (1 / norms + norms / most**2).mean(),
        }
