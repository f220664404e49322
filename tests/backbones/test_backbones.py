"""Backbones have the published sizes and names, and work with any valid input size and memory
format."""

import pytest
import torch

from lh2face.backbones import IResNet, MobileFaceNet
from lh2face.backbones.iresnet import IBasicBlock
from lh2face.registry import MODELS


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def small(name: str, size: int) -> torch.nn.Module:
    torch.manual_seed(0)
    config = {
        "MobileFaceNet": {"type": "MobileFaceNet", "width": 0.25},
        "IResNet": {"type": "IResNet", "depth": 18},
    }[name]
    return MODELS.build({**config, "embedding_size": 24, "image_size": size})


@pytest.mark.parametrize(
    ("model", "millions"),
    [
        # MobileFaceNet's paper gives 4.0 MB of float32 at d = 128; the others are those
        # of published weights.
        (lambda: MobileFaceNet(embedding_size=128), 4.0 / 4),
        (lambda: IResNet(18), 24.0),
        (lambda: IResNet(50), 43.6),
        (lambda: IResNet(100), 65.2),
    ],
)
def test_the_number_of_parameters_is_the_published_one(model, millions):
    assert count(model()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", ["MobileFaceNet", "IResNet"])
@pytest.mark.parametrize("size", [16, 32, 48, 112])
def test_any_size_divisible_by_16_works(name, size):
    embeddings = small(name, size)(torch.rand(2, 3, size, size) * 2 - 1)
    assert embeddings.shape == (2, 24)
    assert embeddings.dtype == torch.float32


@pytest.mark.parametrize("name", ["MobileFaceNet", "IResNet"])
@pytest.mark.parametrize("size", [0, 50, -16])
def test_other_sizes_are_refused_by_name(name, size):
    with pytest.raises(ValueError, match=r"image_size: .* multiple of 16"):
        small(name, size)


def test_unknown_depth_and_width_are_refused():
    with pytest.raises(ValueError, match=r"depth: expected one of \[18, 34, 50, 100, 200\]"):
        IResNet(19)
    with pytest.raises(ValueError, match="width"):
        MobileFaceNet(width=0)


@pytest.mark.parametrize("name", ["MobileFaceNet", "IResNet"])
def test_the_first_layer_takes_more_input_channels(name):
    model = MODELS.build({"type": name, "image_size": 32, "in_channels": 7})
    assert model(torch.zeros(2, 7, 32, 32)).shape == (2, 512)


@pytest.mark.parametrize("name", ["MobileFaceNet", "IResNet"])
def test_channels_last_changes_nothing(name):
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    model = small(name, 32)
    expected = model(images)
    last = small(name, 32).to(memory_format=torch.channels_last)
    found = last(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["MobileFaceNet", "IResNet"])
def test_embeddings_are_float32_under_autocast(name):
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = small(name, 32)(torch.rand(2, 3, 32, 32))
    assert embeddings.dtype == torch.float32


def test_width_scales_the_channels():
    widths = [count(MobileFaceNet(width=width)) for width in (0.25, 0.5, 1.0, 2.0)]
    assert widths == sorted(widths)
    assert MobileFaceNet(width=0.01).stem[0][0].out_channels == 8


def test_iresnet_has_the_parameter_names_of_published_weights():
    names = set(IResNet(18).state_dict())
    assert {
        "conv1.weight",
        "prelu.weight",
        "layer1.0.bn1.running_mean",
        "layer1.0.downsample.0.weight",
        "layer4.1.conv2.weight",
        "bn2.bias",
        "fc.weight",
        "features.running_var",
    } <= names
    assert not any(name.startswith("layer1.1.downsample") for name in names)


def test_iresnet_unit_is_bn_conv_bn_prelu_conv_bn():
    torch.manual_seed(0)
    unit, x = IBasicBlock(4, 6, 2).double(), torch.randn(2, 4, 8, 8, dtype=torch.float64)

    def normalise(y: torch.Tensor) -> torch.Tensor:
        mean, var = y.mean((0, 2, 3), True), y.var((0, 2, 3), False, keepdim=True)
        return (y - mean) / (var + 1e-5).sqrt()

    y = torch.nn.functional.conv2d(normalise(x), unit.conv1.weight, padding=1)
    y = normalise(y)
    y = torch.where(y > 0, y, 0.25 * y)
    y = normalise(torch.nn.functional.conv2d(y, unit.conv2.weight, stride=2, padding=1))
    y = y + normalise(torch.nn.functional.conv2d(x, unit.downsample[0].weight, stride=2))
    torch.testing.assert_close(unit(x), y)
