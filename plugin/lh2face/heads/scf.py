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

    The likelihood term is the mean of ``−(κ cosθ_y + log c_d(κ)) + d log r`` (SCF, eq. 8), where
    c_d is the normaliser of the vMF distribution. In the paper, a separate branch predicts κ, and
    is trained after the network and the proxies. Here κ is the norm of the embedding, and
    everything is trained together: ArcFace's loss does not depend on the norm, and the likelihood
    has no gradient with respect to the direction.

    The normaliser c_d is exact here. The authors' code (MathsShen/SCF) uses ``log(1e-6 + ive(…))``,
    where ive is the scaled Bessel function. It is far below 1e-6 at the usual d and κ. So in their
    code the derivative of the log-likelihood with respect to κ is ``cosθ + (d/2 − 1)/κ − 1`` rather
    than ``cosθ − A_d(κ)``, where A_d is the mean cosine of the distribution. Small κ grow faster.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding and dimension of the vMF distribution, ≥ 2.
        scale: s of ArcFace, and also the radius r, > 0.
        margin: m of ArcFace in rad, in [0, π].
        authors_normalizer: Whether to use the normaliser of the authors' code, for comparison with
            their results.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

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
        """Compute ``loss_margin``, ``loss_likelihood`` and ``mean_kappa``, a statistic: scalars."""
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
