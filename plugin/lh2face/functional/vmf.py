"""The von Mises–Fisher (vMF) distribution on the unit sphere of R^n, stable for every κ and n.

With ν = n/2 − 1, the density at an angle θ from the mean direction is ``c_n(κ) exp(κ cosθ)``, where
``c_n(κ) = κ^ν / ((2π)^{n/2} I_ν(κ))`` (Mardia and Jupp, Directional Statistics, 2000, section 9.3).
I_ν is the modified Bessel function of the first kind, and κ ≥ 0 the concentration.

All functions are computed from ``log c_n(κ) − log c_n(0)``, which is 0 at κ = 0 and does not
overflow. It is computed by Olver's uniform expansion of I_N (DLMF 10.41.3) at a sufficiently high
order N, followed by the backward recurrence of ``I_{ν+1}/I_ν`` (DLMF 10.29.1) from N down to ν. N
depends on n only, so no branch depends on data. Inputs of less than 32 bits are converted to
float32. Results and gradients are finite for every finite κ, unless a log-density exceeds the range
of its dtype.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", Tensor, np.ndarray)
# With this order and number of terms, the error of the expansion is below the rounding of float64.
EXPANSION_ORDER = 48.0
EXPANSION_TERMS = 8
# Newton's steps to the inverse of A_n. The first value's error is a few per cent; each step squares
# it.
NEWTON_STEPS = 6
# The authors' code of SCF adds this to numbers before it takes their logarithm.
SCF_EPSILON = 1e-6
# Smaller numbers are replaced by this one before a square root, whose slope is infinite at 0.
SMALLEST = 1e-300


def log_density_ratio(cos: Tensor, kappa: Tensor, dim: int) -> Tensor:
    """Compute the log of the ratio of the vMF density to the uniform density.

    It is ``κ cosθ + log c_n(κ) − log c_n(0)``. LH2Face (arXiv 2506.23555) uses the log-density
    ``κ cosθ + log c_n(κ)`` as similarity; the difference of the two is a constant of n.

    Args:
        cos: cosθ in [−1, 1], any shape that broadcasts with ``kappa``.
        kappa: Concentration, ≥ 0.
        dim: Dimension n of the distribution, ≥ 2.

    Returns:
        The broadcast shape; 0 where κ = 0.

    Raises:
        ValueError: If ``dim`` is below 2.
    """
    return kappa * cos + log_normalizer_ratio(kappa, dim)


def log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """Compute the log of the vMF normaliser, ``log c_n(κ)``.

    Args:
        kappa: Concentration, ≥ 0, any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``kappa``; at κ = 0 the log-density of the uniform distribution.

    Raises:
        ValueError: If ``dim`` is below 2.
    """
    return log_normalizer_ratio(kappa, dim) + log_uniform_density(dim)


def log_normalizer_of_scf(kappa: Tensor, dim: int) -> Tensor:
    """Compute ``log c_n(κ)`` with the inexact formula of SCF's authors' code (MathsShen/SCF).

    It is ``ν log(1e-6 + κ) − (n/2) log 2π − log(1e-6 + I_ν(κ) e^−κ) − κ`` with ν = n/2 − 1,
    computed in float64 like SciPy's ``ive``. :func:`log_normalizer` is exact.

    Args:
        kappa: Concentration, ≥ 0, any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``kappa``.

    Raises:
        ValueError: If ``dim`` is below 2.
    """
    wide, order = kappa.double(), dim / 2 - 1
    constant = dim / 2 * math.log(2 * math.pi)
    # The power series of I_ν begins with κ^ν, which is 1 for ν = 0. The bound keeps the gradient
    # finite at κ = 0.
    log_kappa = wide.clamp_min(torch.finfo(wide.dtype).tiny).log()
    scaled = (order * log_kappa - constant - log_normalizer(wide, dim) - wide).exp()
    value = order * (SCF_EPSILON + wide).log() - constant - (SCF_EPSILON + scaled).log() - wide
    return value.to(_widened(kappa).dtype)


def log_uniform_density(dim: int) -> float:
    """Compute the log of the uniform density, ``log c_n(0) = log Γ(n/2) − log 2 − (n/2) log π``.

    Args:
        dim: Dimension n, ≥ 1.
    """
    return math.lgamma(dim / 2) - math.log(2) - dim / 2 * math.log(math.pi)


def log_normalizer_ratio(kappa: Tensor, dim: int) -> Tensor:
    """Compute ``log c_n(κ) − log c_n(0)``; its derivative is ``−A_n(κ)``.

    A_n is :func:`mean_resultant_length`.

    Args:
        kappa: Concentration, ≥ 0, any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``kappa``, ≤ 0; about ``−κ²/2n`` for small κ.

    Raises:
        ValueError: If ``dim`` is below 2.
    """
    function: Callable[[Tensor, int], Tensor] = _LogNormalizerRatio.apply
    return function(_widened(kappa), _checked(dim))


def log_peak_ratio(kappa: Tensor, dim: int) -> Tensor:
    """Compute the log of the ratio of the density at the mode to the uniform density.

    It is ``log c_n(κ) + κ − log c_n(0)``. Its derivative is ``1 − A_n(κ)``, where A_n is
    :func:`mean_resultant_length`.

    Args:
        kappa: Concentration, ≥ 0, any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``kappa``, ≥ 0; about ``((n − 1) / 2) log κ`` for large κ.

    Raises:
        ValueError: If ``dim`` is below 2.
    """
    function: Callable[[Tensor, int], Tensor] = _LogPeakRatio.apply
    return function(_widened(kappa), _checked(dim))


def mean_resultant_length(kappa: Tensor, dim: int) -> Tensor:
    """Compute the mean cosine to the mode, ``A_n(κ) = I_{n/2}(κ) / I_{n/2−1}(κ)``.

    The formula is in Banerjee et al. (JMLR 6, 2005, section 2).

    Args:
        kappa: Concentration, ≥ 0, any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``kappa``, in [0, 1]; 1 where the difference to 1 is below the precision of the
        dtype.

    Raises:
        ValueError: If ``dim`` is below 2.
    """
    return _ratio(_widened(kappa), _checked(dim))[0]


def concentration(mean_length: Tensor, dim: int) -> Tensor:
    """Compute the κ with a given mean cosine; the inverse of :func:`mean_resultant_length`.

    Newton's method starts from the approximation ``κ ≈ r (n − r²) / (1 − r²)`` for the mean cosine
    r (Banerjee et al., JMLR 6, 2005, section 4). The function can be differentiated once.

    Args:
        mean_length: Mean cosine r in [0, 1], any shape.
        dim: Dimension n, ≥ 2.

    Returns:
        The shape of ``mean_length``, ≥ 0; infinity at r = 1, NaN outside of [0, 1].

    Raises:
        ValueError: If ``dim`` is below 2.
    """
    length, dim = _widened(mean_length), _checked(dim)
    r = length.double()
    inside = (r >= 0) & (r < 1)
    r = torch.where(inside, r, 0)
    kappa = (r * (dim - r.square()) / ((1 - r) * (1 + r))).detach()
    for step in range(NEWTON_STEPS):
        short, slope = torch.func.jvp(
            lambda k: _shortfall(k, dim), (kappa,), (torch.ones_like(kappa),)
        )[:2]
        # The excess is A − r, from whichever difference loses fewer digits. Only the last step has
        # a gradient.
        aim = r if step == NEWTON_STEPS - 1 else r.detach()
        excess = torch.where(aim < 0.5, _ratio(kappa, dim)[0] - aim, (1 - aim) - short)
        kappa = (kappa + excess / slope).clamp_min(0)
    outside = torch.where(length == 1, torch.inf, torch.nan)
    return torch.where(inside, kappa.to(length.dtype), outside)


def mutual_likelihood(x1: Tensor, kappa1: Tensor, x2: Tensor, kappa2: Tensor, dim: int) -> Tensor:
    """Compute the log-likelihood ratio that two vMF observations have the same mean direction.

    It is ``log c_n(κ1) + log c_n(κ2) − log c_n(|κ1 x1 + κ2 x2|) − log c_n(0)``, computed in
    float64. The denominator of the ratio assumes two independent, uniform mean directions. It is
    the mutual likelihood score of Shi and Jain (Probabilistic Face Embeddings, ICCV 2019, arXiv
    1904.09658), here for vMF distributions instead of Gaussian ones.

    Args:
        x1: ``(…, d)`` unit directions.
        kappa1: ``(…)`` concentrations, ≥ 0.
        x2: ``(…, d)`` unit directions.
        kappa2: ``(…)`` concentrations, ≥ 0.
        dim: Dimension n, ≥ 2.

    Returns:
        ``(…)``; 0 where either κ is 0; finite where κ1 + κ2 is finite.

    Raises:
        ValueError: If ``dim`` is below 2.
    """
    first, second = kappa1.double(), kappa2.double()
    distance = (x1.double() - x2.double()).square().sum(dim=-1)
    joint, lost = joint_concentration(distance / 2, first, second)
    peaks = log_peak_ratio(first, dim) + log_peak_ratio(second, dim) - log_peak_ratio(joint, dim)
    return (peaks - lost).to(_widened(kappa1).dtype)


def joint_concentration(apart: Array, kappa1: Array, kappa2: Array) -> tuple[Array, Array]:
    """Compute the concentration of the product of two vMF densities, and its difference to κ1 + κ2.

    The product of the densities with mean directions x1 and x2 is, up to a factor, the vMF density
    with the concentration ``|κ1 x1 + κ2 x2|``.

    Args:
        apart: ``1 − cosθ`` of the angle θ between x1 and x2, in [0, 2]; a tensor or an array.
        kappa1: Concentrations of the first density, ≥ 0, which broadcast with ``apart``.
        kappa2: Concentrations of the second density, ≥ 0, which broadcast with ``apart``.

    Returns:
        ``|κ1 x1 + κ2 x2|`` and ``κ1 + κ2 − |κ1 x1 + κ2 x2|``, of the broadcast shape. Both are
        computed without cancellation, and do not change if the two densities are exchanged.
    """
    total = kappa1 + kappa2
    divisor = total + (total == 0)
    less = 2 * (kappa1 / divisor) * (kappa2 / divisor) * apart
    # The slope of the root is infinite at 0.
    share = (1 - less).clip(SMALLEST) ** 0.5
    return total * share, total * (less / (1 + share))


class _LogNormalizerRatio(torch.autograd.Function):
    @staticmethod
    def forward(kappa: Tensor, dim: int) -> Tensor:
        rest, excess, _ = _log_parts(kappa, dim)
        return rest - excess

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        kappa, ctx.dim = inputs
        ctx.save_for_backward(kappa)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kappa,) = ctx.saved_tensors
        return -grad * mean_resultant_length(kappa, ctx.dim), None


class _LogPeakRatio(_LogNormalizerRatio):
    @staticmethod
    def forward(kappa: Tensor, dim: int) -> Tensor:
        rest, _, lacking = _log_parts(kappa, dim)
        return rest + lacking

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kappa,) = ctx.saved_tensors
        return grad * _shortfall(kappa, ctx.dim), None


def _log_parts(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``log c_n(κ) − log c_n(0) + (r − N)``, ``r − N`` and ``κ − (r − N)``."""
    _, log_G, N = _ratio(kappa, dim)
    r = _hypotenuse(kappa, N)
    excess = kappa * (kappa / (r + N))  # r − N without cancellation
    # κ − (r − N) without cancellation. Halves are added, because the sums themselves might
    # overflow.
    lacking = N * ((excess / 2 + kappa / 2) / (r / 2 + kappa / 2))
    # Both logarithms use the same arithmetic, so that their difference is exactly 0 at κ = 0.
    at_zero = _series(torch.ones((), dtype=r.dtype, device=r.device), N, 0)
    series = torch.log(_series(N / r, N, 0)) - torch.log(at_zero)
    rest = N * torch.log1p(excess / (2 * N)) + 0.5 * torch.log1p(excess / N) - series + log_G
    return rest, excess, lacking


def _ratio(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor, float]:
    """Compute ``A_n``, the sum of log G_ν over the orders ν below N, and N itself.

    For R_ν = I_{ν+1}/I_ν, ``R_ν = κ G_ν / 2(ν+1)`` where ``G_ν = 1 / (1 + κ R_{ν+1} / 2(ν+1))``.
    """
    N, orders = _orders(dim)
    r = _hypotenuse(kappa, N)
    R = kappa / (r + N) - _correction(kappa, r, N)
    log_G = torch.zeros_like(kappa)
    for order in orders:
        part = kappa / (2 * (order + 1))
        log_G = log_G - torch.log1p(part * R)
        R = part / (1 + part * R)
    return R, log_G, N


def _shortfall(kappa: Tensor, dim: int) -> Tensor:
    """Compute ``1 − A_n`` by the same recurrence, without cancellation when A_n is near 1."""
    N, orders = _orders(dim)
    r = _hypotenuse(kappa, N)
    short = (N * N / (r + kappa) + N) / (r + N) + _correction(kappa, r, N)
    for order in orders:
        part = kappa / (2 * (order + 1))
        short = (1 - part * short) / (1 + part * (1 - short))
    return short


def _orders(dim: int) -> tuple[float, list[float]]:
    """Return the order N of the expansion, and the orders from N − 1 down to n/2 − 1."""
    lowest = dim / 2 - 1
    steps = max(0, math.ceil(EXPANSION_ORDER - lowest))
    return lowest + steps, [lowest + step for step in reversed(range(steps))]


def _hypotenuse(kappa: Tensor, order: float) -> Tensor:
    """Compute ``r = sqrt(κ² + N²)`` without overflow."""
    return torch.hypot(kappa, torch.full_like(kappa, order))


def _correction(kappa: Tensor, r: Tensor, order: float) -> Tensor:
    """Compute ``κ / (r + N) − I_{N+1}/I_N``, the correction to the first term of the expansion."""
    t = order / r
    slope = _series(t, order, 1) / _series(t, order, 0)
    return (kappa / r) * (0.5 + slope * t) / r


def _series(t: Tensor, order: float, derivative: int) -> Tensor:
    """Evaluate ``Σ U_k(t) / N^k``, or its derivative with respect to t, by Horner's rule."""
    coefficients = _series_coefficients(order, derivative)
    value = torch.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * t + coefficient
    return value


@cache
def _series_coefficients(order: float, derivative: int) -> tuple[float, ...]:
    total = [0.0] * (3 * EXPANSION_TERMS + 1)
    for k, polynomial in enumerate(OLVER_POLYNOMIALS):
        for power, coefficient in enumerate(polynomial):
            total[power] += coefficient / order**k
    if derivative:
        total = [power * value for power, value in enumerate(total)][1:]
    return tuple(total)


def _olver_polynomials() -> tuple[tuple[float, ...], ...]:
    """Compute the polynomials U_0 … U_K by DLMF 10.41.9, as coefficients of ascending powers."""
    polynomials: list[tuple[Fraction, ...]] = [(Fraction(1),)]
    for _ in range(EXPANSION_TERMS):
        u = polynomials[-1]
        following = [Fraction(0)] * (len(u) + 3)
        for power, c in enumerate(u):
            # ½ t²(1 − t²) U' + ⅛ ∫ (1 − 5s²) U
            following[power + 1] += c * Fraction(power, 2) + c / (8 * (power + 1))
            following[power + 3] -= c * Fraction(power, 2) + 5 * c / (8 * (power + 3))
        polynomials.append(tuple(following))
    return tuple(tuple(map(float, polynomial)) for polynomial in polynomials)


# Computed at import: torch.compile would trace the fractions, which takes minutes.
OLVER_POLYNOMIALS = _olver_polynomials()


def _widened(values: Tensor) -> Tensor:
    """Convert dtypes other than float64 to float32."""
    return values if values.dtype == torch.float64 else values.float()


def _checked(dim: int) -> int:
    if dim < 2:
        raise ValueError(f"dim: expected a dimension of at least 2, found {dim}")
    return dim
