"""LH2Face (arXiv 2506.23555): vMF similarity, uncertainty-aware margin, proxy terms."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lh2face.arguments import at_least, between
from lh2face.functional.margins import (
    margin_cross_entropy,
    mean_over_labels,
    positive_proxy_loss,
)
from lh2face.functional.similarities import length
from lh2face.functional.vmf import log_density_ratio
from lh2face.heads.proxy_head import ProxyHead, mean_over_ranks
from lh2face.registry import MODELS


@MODELS.register_module()
class LH2FaceHead(ProxyHead):
    """Softmax over vMF log-densities with a margin that follows the mean embedding norm.

    ``s_j = κ cosθ_j + log c_n(κ) − log c_n(0)``, κ = |z|; the target is ``s_y − m`` with
    ``m = margin_factor · μ``. ``L_FR = L_vMF + L_pps + L_pns + L_pp``.

    - ``L_pps = mean_{p∈P+} log(1 + Σ_{i: y_i=p} exp(−(s_ip − m)))``
    - ``L_pns = mean_p log(1 + Σ_{i: y_i≠p} exp(s_ip + m))``
    - ``L_pp = mean_{p∈P+} log(1 + Σ_{q≠p} exp(μ w_pᵀw_q + m))``

    The paper gives the similarity, the margin and the names of the terms; the density taken
    relative to the uniform one, μ as the mean of the batch and the form of the terms are our
    reading, with p of L_pp over the classes of the batch, P+, a sample of all pairs that no number
    of classes makes too large.

    Args:
        num_classes: Number of identities C.
        in_channels: Size d of the embedding.
        vmf_dim: Dimension n of the vMF distribution, ≥ 2; need not be d.
        margin_factor: m / μ, ≥ 0.
        positive_weight: Weight of L_pps (proxy and positive samples), ≥ 0; 0 leaves it out.
        negative_weight: Weight of L_pns (proxy and negative samples), likewise.
        proxy_weight: Weight of L_pp (proxy and proxy), likewise.
        norm_momentum: Share of the batch's mean norm in μ, in [0, 1]; below 1 it is a running mean,
            which trails the norms as they grow.
        density_ratio: Whether the proxy terms read s; without, κ cosθ alone. In the softmax over
            one sample the rest of s cancels.
        proxies: See :class:`ProxyHead`.

    Example:
        ``head = dict(type="LH2FaceHead", num_classes=1000, in_channels=512, vmf_dim=256)``
    """

    mean_norm: Tensor

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 512,
        vmf_dim: int = 256,
        margin_factor: float = 0.35,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
        proxy_weight: float = 1.0,
        norm_momentum: float = 1.0,
        density_ratio: bool = True,
        proxies: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, proxies)
        self.vmf_dim = at_least("vmf_dim", vmf_dim, 2)
        self.margin_factor = between("margin_factor", margin_factor, 0)
        self.positive_weight = between("positive_weight", positive_weight, 0)
        self.negative_weight = between("negative_weight", negative_weight, 0)
        self.proxy_weight = between("proxy_weight", proxy_weight, 0)
        self.norm_momentum = between("norm_momentum", norm_momentum, 0, 1)
        self.density_ratio = density_ratio
        # NaN: no batch seen yet; the first one sets the mean.
        self.register_buffer("mean_norm", torch.tensor(torch.nan))

    def rows(self, embeddings: Tensor) -> Tensor:
        """The embeddings themselves ``(B, d)``: κ cosθ = zᵀw."""
        return embeddings

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """L_FR, term by term.

        Returns:
            Scalars: ``loss_vmf``, and ``loss_positive``, ``loss_negative``, ``loss_proxy`` where
            their weight is not 0; the statistics ``mean_kappa`` and ``margin``.
        """
        kappa = length(embeddings)
        mean_norm = self._update_mean_norm(mean_over_ranks(kappa.mean()))
        margin = self.margin_factor * mean_norm
        log_ratio = torch.zeros_like(kappa)
        if self.density_ratio:
            log_ratio = log_density_ratio(log_ratio, kappa, self.vmf_dim)
        found = self.proxies(
            self.rows(embeddings),
            labels,
            offset=log_ratio + margin if self.negative_weight else None,
            anchor_scale=mean_norm if self.proxy_weight else None,
        )
        # Anchors, where there are any, come after the samples.
        target, negatives = found.target[: len(labels)] - margin, found.negatives[: len(labels)]
        losses = {"loss_vmf": margin_cross_entropy(target, negatives)}
        if self.positive_weight:
            term = positive_proxy_loss(target + log_ratio, labels)
            losses["loss_positive"] = self.positive_weight * term
        if self.negative_weight:
            term = F.softplus(found.columns).mean()
            losses["loss_negative"] = self.negative_weight * term
        if self.proxy_weight:
            between = F.softplus(found.negatives[len(labels) :] + margin)
            losses["loss_proxy"] = self.proxy_weight * mean_over_labels(between, labels)
        return {**losses, "mean_kappa": kappa.detach().mean(), "margin": margin}

    @torch.no_grad()
    def _update_mean_norm(self, batch_mean: Tensor) -> Tensor:
        """μ after this batch, the same on every rank."""
        if self.training:
            seen = self.mean_norm.lerp(batch_mean.to(self.mean_norm.dtype), self.norm_momentum)
            self.mean_norm.copy_(torch.where(self.mean_norm.isnan(), batch_mean, seen))
        return torch.where(self.mean_norm.isnan(), batch_mean, self.mean_norm).to(batch_mean.dtype)
