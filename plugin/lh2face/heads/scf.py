"""SCF: Spherical Confidence Learning (Li et al., CVPR 2021)."""

import math
from typing import Any

from torch import Tensor

from lh2face.functional.margins import angular_margin, margin_cross_entropy
from lh2face.functional.similarities import length, unit
from lh2face.functional.vmf import log_normalizer
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS


@MODELS.register_module()
class SCFHead(ProxyHead):
    """ArcFace for the direction, the r-radius vMF likelihood of the own proxy for κ.

    ``−(κ cosθ_y + log c_d(κ)) + d log r`` (SCF, eq. 8). The paper fixes a trained network and its
    proxies and learns κ by a branch of its own; here both are learnt at once, κ being the norm:
    ArcFace does not see the norm, and the likelihood does not see the direction.

    Args:
        num_classes: Number of identities C.
        in_channels: Size d of the embedding, and of the vMF distribution.
        scale: s of ArcFace, and the radius r.
        margin: m of ArcFace in rad.
        proxies: See :class:`ProxyHead`.

    Example:
        ``head = dict(type="SCFHead", num_classes=1000, in_channels=512)``
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
        """``loss_margin``, ``loss_likelihood``, and the statistic ``mean_kappa``."""
        found = self.proxies(self.scale * unit(embeddings), labels)
        cos = found.target / self.scale
        target = self.scale * angular_margin(cos, self.margin)
        kappa = length(embeddings)
        dim = self.proxies.in_channels
        density = kappa * cos.detach().clamp(-1, 1) + log_normalizer(kappa, dim)
        return {
            "loss_margin": margin_cross_entropy(target, found.negatives),
            "loss_likelihood": (dim * math.log(self.scale) - density).mean(),
            "mean_kappa": kappa.detach().mean(),
        }
