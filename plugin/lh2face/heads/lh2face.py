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
    """LH2Face's loss: softmax over vMF log-densities, with a margin from the mean norm.

    The similarity to class j is ``s_j = κ cosθ_j + log c_n(κ) − log c_n(0)`` with κ = |z|, where
    c_n is the normaliser of the vMF distribution (:mod:`lh2face.functional.vmf`). The margin is
    ``m = margin_factor · μ``, where μ is the mean of κ. The loss is the sum
    ``L_FR = L_vMF + L_pps + L_pns + L_pp``:

    - ``L_vMF = −mean log(exp(s_y − m) / (exp(s_y − m) + Σ_{j≠y} exp s_j))``
    - ``L_pps = mean_{p∈P+} log(1 + Σ_{i: y_i=p} exp(−(s_ip − m)))``
    - ``L_pns = mean_p log(1 + Σ_{i: y_i≠p} exp(s_ip + m))``
    - ``L_pp = mean_{p∈P+} log(1 + Σ_{q≠p} exp(μ w_pᵀw_q + m))``

    Here p and q are classes, w_p is the unit proxy of p, P+ is the set of classes in the batch, and
    s_ip is the similarity of sample i to class p.

    The paper (arXiv 2506.23555) defines the similarity, the margin and the names of the terms.
    Three choices are our own: the density is relative to the uniform one; μ is the mean over the
    batch; and the last three terms have these forms. L_pp has only the p of the batch, so its cost
    does not grow with the square of the number of classes.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.
        vmf_dim: Dimension n of the vMF distribution, ≥ 2; it may differ from d.
        margin_factor: Ratio m / μ, ≥ 0.
        positive_weight: Weight of L_pps (proxy and positive samples), ≥ 0; 0 omits the term.
        negative_weight: Weight of L_pns (proxy and negative samples), ≥ 0; 0 omits the term.
        proxy_weight: Weight of L_pp (proxy and proxy), ≥ 0; 0 omits the term.
        norm_momentum: Weight of the batch's mean norm in μ, in [0, 1]. Below 1, μ is a running
            mean, which lags behind growing norms.
        density_ratio: Whether L_pps and L_pns use s; if not, they use κ cosθ. L_vMF is the same in
            both cases, because the normaliser is the same for all classes and cancels.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If an argument is out of its range.

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
        # NaN until the first batch sets the mean.
        self.register_buffer("mean_norm", torch.tensor(torch.nan))

    def rows(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings ``(B, d)`` themselves, because κ cosθ = zᵀw."""
        return embeddings

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the terms of L_FR.

        Returns:
            Scalars: ``loss_vmf``; ``loss_positive``, ``loss_negative`` and ``loss_proxy``, unless
            their weights are 0; and the statistics ``mean_kappa`` and ``margin``.
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
        # The anchors of L_pp, if any, follow the samples.
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
        """Update μ and return it; it is the same on every rank.

        In evaluation mode μ does not change. Only the first batch sets it in every mode, so that μ
        is finite in a frozen head too.
        """
        momentum = self.norm_momentum if self.training else 0.0
        first = batch_mean.to(self.mean_norm.dtype)
        seen = torch.where(self.mean_norm.isnan(), first, self.mean_norm.lerp(first, momentum))
        self.mean_norm.copy_(seen)
        return seen.to(batch_mean.dtype)
