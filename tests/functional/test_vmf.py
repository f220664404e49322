import mpmath
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from lh2face.functional import vmf

mpmath.mp.dps = 50
DIMS = (2, 3, 16, 64, 97, 98, 256, 512, 8192)
KAPPAS = (0.0, 1e-6, 0.01, 1.0, 10.0, 64.0, 300.0, 3e3, 3e4, 1e6)


def exact(dim: int, kappa: float) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]:
    """log c_n(κ), log c_n(κ) − log c_n(0) and A_n(κ) to 50 digits."""
    order, k = mpmath.mpf(dim) / 2 - 1, mpmath.mpf(kappa)
    uniform = mpmath.loggamma(order + 1) - mpmath.log(2) - (order + 1) * mpmath.log(mpmath.pi)
    if k == 0:
        return uniform, mpmath.mpf(0), mpmath.mpf(0)
    bessel = mpmath.besseli(order, k, maxterms=10**6)
    log_c = order * mpmath.log(k) - (order + 1) * mpmath.log(2 * mpmath.pi) - mpmath.log(bessel)
    return log_c, log_c - uniform, mpmath.besseli(order + 1, k, maxterms=10**6) / bessel


@pytest.mark.parametrize("dim", DIMS)
def test_against_fifty_digits(dim):
    for kappa in KAPPAS:
        log_c, _, length = exact(dim, kappa)
        k = torch.tensor(kappa, dtype=torch.float64)
        tolerance = 1e-10 + 1e-14 * abs(log_c)
        assert abs(vmf.log_normalizer(k, dim).item() - log_c) <= tolerance, kappa
        assert abs(vmf.mean_resultant_length(k, dim).item() - length) <= 1e-12, kappa


@pytest.mark.parametrize("dim", DIMS)
def test_float32_density_ratio(dim):
    for kappa in KAPPAS:
        k = torch.tensor(kappa, dtype=torch.float32)
        _, ratio, _ = exact(dim, k.item())
        for cos in (-1.0, 0.3, 1.0):
            c = torch.tensor(cos)
            found = vmf.log_density_ratio(c, k, dim).item()
            assert abs(found - (ratio + mpmath.mpf(k.item()) * c.item())) <= 1e-5 * max(1, kappa)


@pytest.mark.parametrize("dim", [2, 3, 64, 97, 98, 512])
def test_gradients_of_both_orders(dim):
    kappa = torch.tensor([0.0, 0.2, 3.0, 40.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda k: vmf.log_normalizer(k, dim), kappa)
    assert gradgradcheck(lambda k: vmf.log_normalizer(k, dim), kappa)


@pytest.mark.parametrize("dim", [2, 64, 1024])
def test_derivative_is_minus_mean_length(dim):
    kappa = torch.tensor([0.5, 7.0, 90.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(vmf.log_normalizer_ratio(kappa, dim).sum(), kappa)
    torch.testing.assert_close(slope, -vmf.mean_resultant_length(kappa, dim))


@pytest.mark.parametrize("dim", [2, 64, 512])
def test_concentration_inverts_mean_length(dim):
    kappa = torch.tensor([0.0, 0.3, 5.0, 60.0, 900.0], dtype=torch.float64)
    found = vmf.concentration(vmf.mean_resultant_length(kappa, dim), dim)
    torch.testing.assert_close(found, kappa, rtol=1e-6, atol=1e-9)


def test_bfloat16_is_computed_in_float32():
    kappa = torch.tensor([3.0], dtype=torch.bfloat16)
    assert vmf.log_normalizer(kappa, 64).dtype == torch.float32


def test_mutual_likelihood_prefers_agreement_and_ignores_the_uncertain():
    x = torch.eye(4, dtype=torch.float64)
    one, none = torch.tensor(20.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    same = vmf.mutual_likelihood(x[0], one, x[0], one, 4)
    assert same > 0 > vmf.mutual_likelihood(x[0], one, x[1], one, 4)
    assert vmf.mutual_likelihood(x[0], one, x[1], none, 4).item() == pytest.approx(0, abs=1e-12)


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
