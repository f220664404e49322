import math
from functools import cache

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import ive
from torch.autograd import gradcheck, gradgradcheck

from lh2face.functional import vmf

mpmath.mp.dps = 50
DIMS = (2, 3, 16, 64, 97, 98, 256, 512, 8192)
KAPPAS = (0.0, 1e-6, 0.01, 1.0, 10.0, 64.0, 300.0, 3e3, 3e4, 1e6)
# The squares of these κ overflow or underflow in float32 or in float64.
EXTREME = (1e-300, 1e-45, 2e19, 1.7e308)


@cache
def exact(dim: int, kappa: float) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]:
    """Return log c_n(κ), log c_n(κ) − log c_n(0) and A_n(κ) with 50 digits."""
    order, k = mpmath.mpf(dim) / 2 - 1, mpmath.mpf(kappa)
    uniform = mpmath.loggamma(order + 1) - mpmath.log(2) - (order + 1) * mpmath.log(mpmath.pi)
    if k == 0:
        return uniform, mpmath.mpf(0), mpmath.mpf(0)
    bessel = mpmath.besseli(order, k, maxterms=10**6)
    log_c = order * mpmath.log(k) - (order + 1) * mpmath.log(2 * mpmath.pi) - mpmath.log(bessel)
    return log_c, log_c - uniform, mpmath.besseli(order + 1, k, maxterms=10**6) / bessel


@pytest.mark.parametrize("dim", DIMS)
def test_float64_agrees_with_fifty_digits(dim):
    for kappa in KAPPAS + EXTREME:
        log_c, _, length = exact(dim, kappa)
        k = torch.tensor(kappa, dtype=torch.float64)
        tolerance = 1e-15 * (1 + abs(log_c))
        assert abs(vmf.log_normalizer(k, dim).item() - log_c) <= tolerance, kappa
        assert abs(vmf.mean_resultant_length(k, dim).item() - length) <= 1e-15, kappa


@pytest.mark.parametrize("dim", DIMS)
def test_float32_is_accurate_over_its_whole_range(dim):
    for kappa in (1e-45, 1.0, 300.0, 2e19, torch.finfo(torch.float32).max):
        k = torch.tensor(kappa, requires_grad=True)
        log_c, _, length = exact(dim, k.item())
        found, found_length = vmf.log_normalizer(k, dim), vmf.mean_resultant_length(k, dim)
        assert abs(found.item() - log_c) <= 1e-6 * (1 + abs(log_c)), kappa
        assert abs(found_length.item() - length) <= 1e-6, kappa
        (slope,) = torch.autograd.grad(found, k, create_graph=True)
        assert slope == -found_length
        assert torch.autograd.grad(slope, k)[0].isfinite(), kappa
        ratio = vmf.log_density_ratio(torch.ones(()), k, dim)
        assert ratio.isfinite() and torch.autograd.grad(ratio, k)[0].isfinite(), kappa


@pytest.mark.parametrize("dim", DIMS)
def test_the_density_ratio_is_accurate_in_float32(dim):
    for kappa in KAPPAS:
        k = torch.tensor(kappa, dtype=torch.float32)
        _, ratio, _ = exact(dim, k.item())
        for cos in (-1.0, 0.3, 1.0):
            c = torch.tensor(cos)
            found = vmf.log_density_ratio(c, k, dim).item()
            assert abs(found - (ratio + mpmath.mpf(k.item()) * c.item())) <= 1e-5 * max(1, kappa)


@pytest.mark.parametrize("dim", [2, 3, 64, 97, 98, 512])
def test_first_and_second_derivatives_pass_gradcheck(dim):
    kappa = torch.tensor([0.0, 0.2, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda k: vmf.log_normalizer(k, dim), kappa)
    assert gradgradcheck(lambda k: vmf.log_normalizer(k, dim), kappa)


@pytest.mark.parametrize("dim", [2, 64, 1024])
def test_the_derivative_of_the_normalizer_is_minus_the_mean_length(dim):
    kappa = torch.tensor([0.5, 7.0, 90.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(vmf.log_normalizer_ratio(kappa, dim).sum(), kappa)
    torch.testing.assert_close(slope, -vmf.mean_resultant_length(kappa, dim))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 97, 512])
def test_concentration_agrees_with_fifty_digits(dim, dtype):
    """It holds up to the largest mean cosine below 1; its residual gives the error of κ."""
    eps = torch.finfo(dtype).eps
    for mean_length in (1e-30, 0.01, 0.3, 0.49999, 0.50001, 0.9, 1 - 1e-6, 1 - eps / 2):
        r = torch.tensor(mean_length, dtype=dtype, requires_grad=True)
        kappa = vmf.concentration(r, dim)
        (slope,) = torch.autograd.grad(kappa, r)
        k = mpmath.mpf(kappa.item())
        A = exact(dim, k)[2]
        derivative = 1 - A * A - (dim - 1) * A / k
        tolerance = 2 * eps if dtype == torch.float32 else 1e-12
        assert abs((A - r.item()) / derivative / k) <= tolerance, mean_length
        assert abs(slope.item() * derivative - 1) <= tolerance, mean_length


def test_the_gradient_of_concentration_passes_gradcheck():
    r = torch.tensor([0.01, 0.2, 0.45, 0.6, 0.9], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda r: vmf.concentration(r, 64), r)


def test_concentration_has_known_limits_and_refuses_values_outside():
    found = vmf.concentration(torch.tensor([0.0, 1.0, 1.1, -0.1]), 64)
    expected = torch.tensor([0.0, torch.inf, torch.nan, torch.nan])
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("dim", [2, 3, 64, 512])
def test_the_normalizer_of_scf_equals_scipys(dim):
    kappa = torch.tensor([0.0, 0.3, 5.0, 64.0, 900.0], dtype=torch.float64, requires_grad=True)
    found, order = vmf.log_normalizer_of_scf(kappa, dim), dim / 2 - 1
    k = kappa.detach().numpy()
    expected = order * np.log(1e-6 + k) - dim / 2 * np.log(2 * np.pi)
    expected -= np.log(1e-6 + ive(order, k)) + k
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.grad(found.sum(), kappa)[0].isfinite().all()
    assert gradcheck(
        lambda k: vmf.log_normalizer_of_scf(k, dim), kappa[1:].detach().requires_grad_()
    )


def test_bfloat16_is_computed_in_float32():
    kappa = torch.tensor([3.0], dtype=torch.bfloat16)
    assert vmf.log_normalizer(kappa, 64).dtype == torch.float32


@pytest.mark.parametrize("dim", [2, 3, 64, 512])
def test_log_peak_ratio_is_exact_and_its_derivative_is_one_minus_the_mean_length(dim):
    for kappa in (0.0, 1e-6, 0.3, 20.0, 700.0, 1e5):
        k = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
        _, ratio, mean = exact(dim, kappa)
        value = vmf.log_peak_ratio(k, dim)
        assert value.item() == pytest.approx(float(ratio + mpmath.mpf(kappa)), rel=1e-12, abs=1e-15)
        (slope,) = torch.autograd.grad(value, k)
        assert slope.item() == pytest.approx(float(1 - mean), rel=1e-10)
    huge = torch.tensor(1e38)
    gradient = vmf.log_peak_ratio(2 * huge, dim) - vmf.log_peak_ratio(huge, dim)
    assert gradient.item() == pytest.approx((dim - 1) / 2 * math.log(2), rel=1e-3)


def test_mutual_likelihood_prefers_agreement_and_ignores_the_uncertain():
    x = torch.eye(4)
    one, none = torch.tensor(20.0), torch.tensor(0.0)
    same = vmf.mutual_likelihood(x[0], one, x[0], one, 4)
    assert same > 0 > vmf.mutual_likelihood(x[0], one, x[1], one, 4)
    assert vmf.mutual_likelihood(x[0], one, x[1], none, 4).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dim", [4, 512])
@pytest.mark.parametrize("kappa", [0.0, 1e-45, 1e-20, 1.0, 300.0, 2e19, 3e38])
@pytest.mark.parametrize("other", [(1.0, 0.0), (0.6, 0.8), (0.0, 1.0), (-0.6, 0.8), (-1.0, 0.0)])
def test_mutual_likelihood_is_accurate_over_the_range_of_float32(kappa, other, dim):
    k, half = torch.tensor(kappa, requires_grad=True), torch.tensor(kappa / 2)
    x, y = torch.tensor([1.0, 0.0]), torch.tensor(other)
    value = vmf.mutual_likelihood(x, k, y, half, dim)
    (slope,) = torch.autograd.grad(value, k)
    assert slope.isfinite()
    first, second = (mpmath.mpf(value.item()) for value in (k, half))
    apart = sum(
        (mpmath.mpf(a.item()) - mpmath.mpf(b.item())) ** 2 for a, b in zip(x, y, strict=True)
    )
    joint = mpmath.sqrt((first + second) ** 2 - first * second * apart)
    peak = [vmf.log_peak_ratio(torch.tensor(float(one), dtype=torch.float64), dim).item() for one in
            (first, second, joint)]  # fmt: skip
    expected = peak[0] + peak[1] - peak[2] - float(first + second - joint)
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_mutual_likelihood_of_opposite_and_equal_concentrations_has_a_slope():
    k = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([1.0, 0.0])
    value = vmf.mutual_likelihood(x, k, -x, k, 8)
    (slope,) = torch.autograd.grad(value, k)
    assert value.item() == pytest.approx(2 * exact(8, 5.0)[1], rel=1e-12) and slope.isfinite()


def test_dimension_below_two_is_refused():
    with pytest.raises(ValueError, match="dim: expected"):
        vmf.log_normalizer(torch.tensor(1.0), 1)


@pytest.mark.parametrize("dim", [3, 256])
def test_compiles_as_one_graph(dim):
    kappa = torch.tensor([0.0, 0.5, 30.0, 1e5], dtype=torch.float64, requires_grad=True)
    cos = torch.tensor([0.1, -1.0, 0.7, 1.0], dtype=torch.float64)
    torch._dynamo.reset()
    forward = torch.compile(vmf.log_density_ratio, fullgraph=True, backend="aot_eager")
    found, expected = forward(cos, kappa, dim), vmf.log_density_ratio(cos, kappa, dim)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(value.sum(), kappa)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes)
    lengths = torch.compile(vmf.mean_resultant_length, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(lengths(kappa, dim), vmf.mean_resultant_length(kappa, dim))


def test_no_nan_anywhere_in_the_domain():
    kappa = torch.cat([torch.zeros(1), torch.logspace(-30, 6, 500)]).requires_grad_()
    for dim in (2, 3, 95, 96, 97, 98, 99, 256, 8192):
        value = vmf.log_normalizer_ratio(kappa, dim)
        (slope,) = torch.autograd.grad(value.sum(), kappa)
        assert value.isfinite().all() and slope.isfinite().all()
        assert (
            value[0] == 0 and (value <= 1e-7).all() and (slope <= 0).all() and (slope >= -1).all()
        )
