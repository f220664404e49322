"""The von Mises–Fisher distribution on the unit sphere of R^n, stable for every κ and n.

With ν = n/2 − 1 the density is ``c_n(κ) exp(κ cosθ)``, ``c_n(κ) = κ^ν / ((2π)^{n/2} I_ν(κ))``.
All is built from ``log c_n(κ) − log c_n(0)``, which is 0 at κ = 0 and does not overflow: Olver's
uniform expansion of I_N (DLMF 10.41.3) at an order N high enough for it, carried down to ν by the
backward recurrence of ``I_{ν+1}/I_ν`` (DLMF 10.29.1). Which N is used depends on n alone, so
nothing branches on data. Inputs of less than 32 bits are computed in float32.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import torch
from torch import Tensor

# With this order and number of terms the expansion is exact to rounding in float64.
EXPANSION_ORDER = 48.0
EXPANSION_TERMS = 8


def log_density_ratio(cos: Tensor, kappa: Tensor, dim: int) -> Tensor:
    """Log of the density over that of the uniform distribution (arXiv 2506.23555).

    ``κ cosθ + log c_n(κ) − log c_n(0)``

    Args:
        cos: cosθ in [−1, 1], any shape that broadcasts with ``kappa``.
        kappa: Concentration, ≥ 0.
        dim: Dimension n of the distribution, ≥ 2.

    Returns:
        The broadcast shape; 0 where κ = 0.
    """
    return kappa * cos + log_normalizer_ratio(kappa, dim)


def log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """``log c_n(κ)``.

    Args:
        kappa: Concentration, ≥ 0, any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``kappa``; at κ = 0 the log-density of the uniform distribution.
    """
    return log_normalizer_ratio(kappa, dim) + log_uniform_density(dim)


def log_uniform_density(dim: int) -> float:
    """``log c_n(0) = log Γ(n/2) − log 2 − (n/2) log π``."""
    return math.lgamma(dim / 2) - math.log(2) - dim / 2 * math.log(math.pi)


def log_normalizer_ratio(kappa: Tensor, dim: int) -> Tensor:
    """``log c_n(κ) − log c_n(0)``, with the derivative ``−A_n(κ)``.

    Args:
        kappa: Concentration, ≥ 0, any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``kappa``, ≤ 0; about ``−κ²/2n`` for small κ.
    """
    function: Callable[[Tensor, int], Tensor] = _LogNormalizerRatio.apply
    return function(_widened(kappa), _checked(dim))


def mean_resultant_length(kappa: Tensor, dim: int) -> Tensor:
    """``A_n(κ) = I_{n/2}(κ) / I_{n/2−1}(κ)``, the mean cosine to the mode.

    Args:
        kappa: Concentration, ≥ 0, any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``kappa``, in [0, 1).
    """
    return _recurrence(_widened(kappa), _checked(dim))[0]


def concentration(mean_length: Tensor, dim: int) -> Tensor:
    """The κ at which ``A_n(κ)`` is the given mean cosine: the inverse of the above.

    Starts from the approximation of Banerjee et al. (JMLR 2005) and takes Newton steps.

    Args:
        mean_length: In [0, 1), any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``mean_length``.
    """
    r = _widened(mean_length)
    kappa = r * (dim - r.square()) / (1 - r.square())
    for _ in range(6):
        A, G = _recurrence(kappa, dim)[:2]
        slope = 1 - A.square() - (dim - 1) / dim * G
        kappa = (kappa - (A - r) / slope).clamp_min(0)
    return kappa


def mutual_likelihood(x1: Tensor, kappa1: Tensor, x2: Tensor, kappa2: Tensor, dim: int) -> Tensor:
    """Log-likelihood that two vMF observations share their mean direction, over chance.

    ``log c(κ1) + log c(κ2) − log c(|κ1 x1 + κ2 x2|) − log c(0)``

    Args:
        x1: ``(…, d)`` unit directions.
        kappa1: ``(…)`` concentrations, ≥ 0.
        x2: ``(…, d)`` unit directions.
        kappa2: ``(…)`` concentrations, ≥ 0.
        dim: Dimension n, ≥ 2.

    Returns:
        ``(…)``; 0 where either κ is 0.
    """
    joint = (kappa1.unsqueeze(-1) * x1 + kappa2.unsqueeze(-1) * x2).norm(dim=-1)
    parts = (log_normalizer_ratio(kappa, dim) for kappa in (kappa1, kappa2))
    return sum(parts) - log_normalizer_ratio(joint, dim)


class _LogNormalizerRatio(torch.autograd.Function):
    @staticmethod
    def forward(kappa: Tensor, dim: int) -> Tensor:
        _, _, log_G, N = _recurrence(kappa, dim)
        r = torch.sqrt(kappa.square() + N * N)
        excess = kappa.square() / (r + N)  # r − N without cancellation
        # Both by the same arithmetic: then their difference is exactly 0 at κ = 0.
        at_zero = _series(torch.ones((), dtype=r.dtype, device=r.device), N, 0)
        series = torch.log(_series(N / r, N, 0)) - torch.log(at_zero)
        top = N * torch.log1p(excess / (2 * N)) - excess + 0.5 * torch.log1p(excess / N)
        return top - series + log_G

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        kappa, ctx.dim = inputs
        ctx.save_for_backward(kappa)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kappa,) = ctx.saved_tensors
        return -grad * mean_resultant_length(kappa, ctx.dim), None


def _recurrence(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, float]:
    """``A_n``, ``G = n A_n / κ``, the sum of log G down from order N, and N itself.

    With R_ν = I_{ν+1}/I_ν: ``κ R_ν = 2(ν+1) G_ν`` and ``G_ν = 1 / (1 + κ R_{ν+1} / 2(ν+1))``.
    """
    order = dim / 2 - 1
    steps = max(0, math.ceil(EXPANSION_ORDER - order))
    N = order + steps
    r = torch.sqrt(kappa.square() + N * N)
    t = N / r
    slope = _series(t, N, 1) / _series(t, N, 0)
    per_kappa = 1 / (r + N) - 0.5 / r.square() - slope * N / (r * r.square())  # R_N / κ
    log_G = torch.zeros_like(kappa)
    for step in range(steps, 0, -1):
        nu = order + step - 1
        x = kappa.square() * per_kappa / (2 * (nu + 1))
        log_G = log_G - torch.log1p(x)
        per_kappa = 1 / ((1 + x) * (2 * (nu + 1)))
    return kappa * per_kappa, dim * per_kappa, log_G, N


def _series(t: Tensor, order: float, derivative: int) -> Tensor:
    """``Σ U_k(t) / N^k``, or its derivative in t, by Horner's rule."""
    coefficients = _series_coefficients(order, derivative)
    value = torch.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * t + coefficient
    return value


@cache
def _series_coefficients(order: float, derivative: int) -> tuple[float, ...]:
    total = [0.0] * (3 * EXPANSION_TERMS + 1)
    for k, polynomial in enumerate(_olver_polynomials()):
        for power, coefficient in enumerate(polynomial):
            total[power] += float(coefficient) / order**k
    if derivative:
        total = [power * value for power, value in enumerate(total)][1:]
    return tuple(total)


@cache
def _olver_polynomials() -> tuple[tuple[Fraction, ...], ...]:
    """U_0 … U_K by DLMF 10.41.9, as coefficients of ascending powers."""
    polynomials: list[tuple[Fraction, ...]] = [(Fraction(1),)]
    for _ in range(EXPANSION_TERMS):
        u = polynomials[-1]
        following = [Fraction(0)] * (len(u) + 3)
        for power, c in enumerate(u):
            # ½ t²(1 − t²) U' + ⅛ ∫ (1 − 5s²) U
            following[power + 1] += c * Fraction(power, 2) + c / (8 * (power + 1))
            following[power + 3] -= c * Fraction(power, 2) + 5 * c / (8 * (power + 3))
        polynomials.append(tuple(following))
    return tuple(polynomials)


def _widened(values: Tensor) -> Tensor:
    """float64 and float32 as they are, everything shorter as float32."""
    return values if values.dtype == torch.float64 else values.float()


def _checked(dim: int) -> int:
    if dim < 2:
        raise ValueError(f"dim: expected a dimension of at least 2, found {dim}")
    return dim
