"""Our PReLU, whose gradient is faster, equals PyTorch's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lh2face.backbones.prelu import PReLU


def gradients(module: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = module(x)
    return [y, *torch.autograd.grad(y, (x, module.weight), grad)]


@given(
    shape=st.sampled_from([(1, 1), (4, 3), (2, 3, 5), (2, 8, 4, 4), (1, 5, 1, 7)]),
    slope=st.floats(-2, 2, width=32),
    channels_last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equal_to_pytorch(shape, slope, channels_last, seed):
    generator = torch.Generator().manual_seed(seed)
    # Whole numbers include zeros, where the two branches meet.
    x = torch.randint(-2, 3, shape, generator=generator).float()
    grad = torch.randn(shape, generator=generator)
    if channels_last and len(shape) == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    expected = gradients(nn.PReLU(shape[1], slope), x, grad)
    for found, wanted in zip(gradients(PReLU(shape[1], slope), x, grad), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-5)


def test_gradients_pass_gradcheck():
    torch.manual_seed(0)
    module = PReLU(3).double()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(module, {"weight": w}, x), (x, module.weight)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_work_under_autocast(dtype):
    x = torch.linspace(-2, 2, 12).reshape(2, 3, 2).to(dtype)
    found = gradients(PReLU(3), x, torch.ones_like(x))
    assert found[0].dtype == found[1].dtype == dtype
    assert found[2].dtype == torch.float32
    torch.testing.assert_close(found[2], x.float().clamp(max=0).sum((0, 2)), rtol=1e-2, atol=1e-2)


def test_evaluation_runs_pytorchs_prelu():
    module, x = PReLU(3).eval(), torch.randn(2, 3, 4)
    assert torch.equal(module(x), nn.functional.prelu(x, module.weight))
