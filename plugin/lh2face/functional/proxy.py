"""The proxy terms of LH2Face (arXiv 2506.23555): what calibrates κ, because it compares samples.

Each is a mean over proxies of ``log(1 + Σ exp(·))``, by logsumexp, so that nothing overflows.
"""

import torch
from torch import Tensor


def proxy_positive_loss(similarity: Tensor, labels: Tensor, margin: Tensor | float) -> Tensor:
    """``L_pps = mean_{p∈P+} log(1 + Σ_{i: y_i=p} exp(−(s_ip − m)))``.

    Args:
        similarity: ``(B, C)`` of samples to proxies.
        labels: ``(B,)`` int64; P+ are the proxies they name.
        margin: m.

    Returns:
        Scalar.
    """
    positive, inverse = torch.unique(labels, return_inverse=True)
    target = similarity.gather(1, labels[:, None]).squeeze(1)
    members = inverse == torch.arange(len(positive), device=labels.device)[:, None]
    return _log1p_sum_exp(margin - target.expand_as(members), members).mean()


def proxy_negative_loss(similarity: Tensor, labels: Tensor, margin: Tensor | float) -> Tensor:
    """``L_pns = mean_p log(1 + Σ_{i: y_i≠p} exp(s_ip + m))`` over all proxies p.

    Args:
        similarity: ``(B, C)`` of samples to proxies.
        labels: ``(B,)`` int64.
        margin: m.

    Returns:
        Scalar.
    """
    others = labels != torch.arange(similarity.shape[1], device=labels.device)[:, None]
    return _log1p_sum_exp(similarity.T + margin, others).mean()


def proxy_proxy_loss(cos: Tensor, scale: Tensor | float, margin: Tensor | float) -> Tensor:
    """``L_pp = mean_p log(1 + Σ_{q≠p} exp(μ w_pᵀw_q + m))``.

    Args:
        cos: ``(C, C)`` cosines between proxies.
        scale: μ, the mean embedding norm.
        margin: m.

    Returns:
        Scalar.
    """
    others = ~torch.eye(len(cos), dtype=torch.bool, device=cos.device)
    return _log1p_sum_exp(scale * cos + margin, others).mean()


def _log1p_sum_exp(exponents: Tensor, chosen: Tensor) -> Tensor:
    """``log(1 + Σ exp)`` over the chosen entries of each row."""
    exponents = exponents.masked_fill(~chosen, -torch.inf)
    one = exponents.new_zeros(len(exponents), 1)
    return torch.cat([one, exponents], dim=1).logsumexp(dim=1)
