"""SCF: Spherical Confidence Learning (Li et al., CVPR 2021)."""

import math
from typing import Any

from torch import Tensor

from lh2face.arguments import between, positive
from lh2face.functional.margins import angular_margin, margin_cross_entropy
from lh2face.functional.similarities import length
from lh2face.functional.vmf import log_normalizer, log_normalizer_of_scf
from lh2face.heads.proxy_head import ProxyHead
from lh2face.registry import MODELS


@MODELS.register_module()
class SCFHead(ProxyHead):
    """ArcFace for the direction, and the r-radius vMF likelihood of the target proxy for κ.

    The likelihood term is ``−(κ cosθ_y + log c_d(κ)) + d log r`` (SCF, eq. 8). The paper learns κ
    with a separate branch, after the network and the proxies. Here κ is the norm, and both are
    learnt together: the norm does not enter ArcFace's loss, and the likelihood has no gradient to
    the direction.

    The normaliser c_d is exact here. The authors' code (MathsShen/SCF) uses ``log(1e-6 + ive(…))``,
    but ive is far below 1e-6 at the usual d and κ. So in their code the likelihood's derivative by
    κ is ``cosθ + (d/2 − 1)/κ − 1`` instead of ``cosθ − A_d(κ)``, and κ grows faster from small
    values.

    Args:
        num_classes: Number of identities C.
        in_channels: Size d of the embedding, and of the vMF distribution.
        scale: s of ArcFace, and the radius r; above 0.
        margin: m of ArcFace in rad, in [0, π].
        authors_normalizer: Whether to use the normaliser of the authors' code, for comparison with
            their results.
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
        authors_normalizer: bool = False,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.scale = positive("scale", scale)
        self.margin = between("margin", margin, 0, math.pi)
        self.authors_normalizer = authors_normalizer

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute ``loss_margin``, ``loss_likelihood``, and the statistic ``mean_kappa``."""
        found = self.proxies(self.rows(embeddings), labels)
        cos = found.target / self.scale
        target = self.scale * angular_margin(cos, self.margin)
        kappa = length(embeddings)
        normalizer = log_normalizer_of_scf if self.authors_normalizer else log_normalizer
        dim = self.proxies.in_channels
        density = kappa * cos.detach().clamp(-1, 1) + normalizer(kappa, dim)
        return {
            "loss_margin": margin_cross_entropy(target, found.negatives),
            "loss_likelihood": (dim * math.log(self.scale) - density).mean(),
            "mean_kappa": kappa.detach().mean(),
        }
