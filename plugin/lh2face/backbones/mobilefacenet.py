"""MobileFaceNet (Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face
Verification on Mobile Devices", 2018, arXiv 1804.07573, table 1)."""

from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from lh2face.backbones.prelu import PReLU
from lh2face.backbones.sizes import final_size
from lh2face.registry import MODELS

# Table 1: expansion, output channels, blocks, stride of the first block.
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class ConvBN(nn.Sequential):
    """Convolution without bias, batch normalisation and, unless ``linear``, PReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        layers = [
            nn.Conv2d(
                in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False
            ),
            nn.BatchNorm2d(out_channels),
        ]
        super().__init__(*layers, *([] if linear else [PReLU(out_channels)]))


class Bottleneck(nn.Module):
    """Inverted residual: 1×1 expansion, 3×3 depthwise convolution, linear 1×1 projection.

    The input is added to the output if the stride is 1 and the numbers of channels are equal.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.layers = nn.Sequential(
            ConvBN(in_channels, width),
            ConvBN(width, width, 3, stride, 1, groups=width),
            ConvBN(width, out_channels, linear=True),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> ``(B, C', H/stride, W/stride)``."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


@MODELS.register_module()
class MobileFaceNet(BaseModule):  # type: ignore[misc]  # mmengine has no types
    """MobileFaceNet for any input size divisible by 16.

    The published network reads 112 × 112 px and ends with a 7×7 global depthwise convolution. Here
    the side of this kernel is ``image_size / 16``, so that it is global at other sizes too.

    Args:
        embedding_size: Length d of the embedding.
        image_size: Side of the square input, px; a multiple of 16.
        width: Factor on all numbers of channels except the embedding's; the products are rounded to
            multiples of 8.
        in_channels: Channels of the input; more than 3 when renderer outputs are fused in.
        init_cfg: See :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: If ``image_size`` is not a multiple of 16 or ``width`` is not positive.

    Example:
        ``backbone=dict(type="MobileFaceNet", embedding_size=512)``
    """

    def __init__(
        self,
        embedding_size: int = 512,
        image_size: int = 112,
        width: float = 1.0,
        in_channels: int = 3,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if width <= 0:
            raise ValueError(f"width: expected a positive factor, found {width!r}")
        final = final_size(image_size)
        stem, last = _scaled(64, width), _scaled(512, width)
        self.stem = nn.Sequential(
            ConvBN(in_channels, stem, 3, 2, 1),
            ConvBN(stem, stem, 3, 1, 1, groups=stem),
        )
        blocks, channels = [], stem
        for expansion, out_channels, count, first_stride in BOTTLENECKS:
            out_channels = _scaled(out_channels, width)
            for index in range(count):
                stride = first_stride if index == 0 else 1
                blocks.append(Bottleneck(channels, out_channels, expansion, stride))
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.expand = ConvBN(channels, last)
        self.pool = ConvBN(last, last, final, groups=last, linear=True)
        self.embedding = ConvBN(last, embedding_size, linear=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Tensor) -> Tensor:
        """Embed images.

        Args:
            images: ``(B, in_channels, S, S)`` in [-1, 1].

        Returns:
            Unnormalised embeddings ``(B, embedding_size)`` float32.
        """
        features = self.expand(self.blocks(self.stem(images)))
        embeddings: Tensor = self.embedding(self.pool(features))
        return embeddings.flatten(1).float()


def _scaled(channels: int, width: float) -> int:
    return max(8, 8 * round(channels * width / 8))
