"""Encoders and encoder-decoders of the reconstructor, for any power-of-two image size ≥ 16."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _stages(image_size: int) -> int:
    """Return how often the image is halved until it is 4 × 4."""
    stages = image_size.bit_length() - 3
    if stages < 2 or image_size != 4 << stages:
        raise ValueError(f"image_size: expected a power of two ≥ 16, found {image_size}")
    return stages


def _down(width: int, image_size: int) -> tuple[list[nn.Module], int]:
    """Return layers that halve an image until it is 4 × 4, and their number of output channels."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in range(_stages(image_size)):
        wider = width * 2 ** min(stage, 3)
        layers += [
            nn.Conv2d(channels, wider, 4, stride=2, padding=1),
            nn.GroupNorm(min(8, wider), wider),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        channels = wider
    return layers, channels


class ToVector(nn.Conv2d):
    """A convolution whose kernel is as large as the map, computed as a matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, k, k)`` to ``(B, out_channels)``."""
        return F.linear(x.flatten(1), self.weight.flatten(1), self.bias)


class FromVector(nn.ConvTranspose2d):
    """A transposed convolution of a single pixel, computed as a matrix product."""

    # As the kernel is the whole map, there is no output size to choose.
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """``(B, in_channels)`` to ``(B, out_channels, k, k)``."""
        maps = x @ self.weight.flatten(1)
        bias = cast(Tensor, self.bias)
        return torch.unflatten(maps, 1, self.weight.shape[1:]) + bias[:, None, None]


class FewMaps(nn.Conv2d):
    """A convolution from many channels to a few maps of the same size, fast on the CPU.

    It is computed as a transposed convolution with the kernel rotated by 180°. With few outputs,
    PyTorch computes this in the same time, and its gradient in a third of the time.
    """

    def __init__(self, channels: int, maps: int, kernel: int) -> None:
        super().__init__(channels, maps, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, S, S)`` to ``(B, maps, S, S)``."""
        kernel = self.weight.flip(2, 3).transpose(0, 1)
        padding = cast("tuple[int, ...]", self.padding)
        return F.conv_transpose2d(x, kernel, self.bias, padding=padding)


class Encoder(nn.Module):
    """Network from an image to a vector of numbers in (−1, 1), such as light or view.

    Args:
        image_size: Side S of the image.
        outputs: Size of the vector.
        width: Number of channels of the first layer.
    """

    def __init__(self, image_size: int, outputs: int, width: int) -> None:
        super().__init__()
        layers, channels = _down(width, image_size)
        last = nn.Linear(channels, outputs)
        # Outputs near 0 at the start mean the frontal view and light of medium strength.
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        mix = [ToVector(channels, channels, 4), nn.LeakyReLU(0.2, inplace=True), nn.Flatten()]
        self.network = nn.Sequential(*layers, *mix, last, nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, outputs)``."""
        vector: Tensor = self.network(images)
        return vector


class EncoderDecoder(nn.Module):
    """Network from an image to maps of the same size, with a vector as bottleneck.

    Args:
        image_size: Side S of image and maps.
        outputs: Number of maps.
        width: Number of channels of the first layer.
    """

    def __init__(self, image_size: int, outputs: int, width: int) -> None:
        super().__init__()
        layers, channels = _down(width, image_size)
        code = 8 * width
        layers += [
            ToVector(channels, code, 4),
            nn.ReLU(inplace=True),
            FromVector(code, channels, 4),
            nn.ReLU(inplace=True),
        ]
        for stage in reversed(range(_stages(image_size))):
            narrower = width * 2 ** min(max(stage - 1, 0), 3)
            layers += [
                nn.ConvTranspose2d(channels, narrower, 4, stride=2, padding=1),
                nn.GroupNorm(min(8, narrower), narrower),
                nn.ReLU(inplace=True),
            ]
            channels = narrower
        layers.append(FewMaps(channels, outputs, 5))
        self.network = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, outputs, S, S)``, not bounded."""
        maps: Tensor = self.network(images)
        return maps
