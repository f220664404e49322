"""Improved residual network of ArcFace (Deng et al., CVPR 2019, arXiv 1801.07698, section 3.2:
"BN-Conv-BN-PReLU-Conv-BN" units and the "E" output)."""

from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from lh2face.backbones.prelu import PReLU
from lh2face.backbones.sizes import final_size
from lh2face.registry import MODELS

STAGE_CHANNELS = (64, 128, 256, 512)
STAGE_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
    200: (6, 26, 60, 6),
}
BN_EPS = 1e-5


class IBasicBlock(nn.Module):
    """BN-Conv-BN-PReLU-Conv-BN, added to the input or to a linear projection of it."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels, eps=BN_EPS)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=BN_EPS)
        self.prelu = PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels, eps=BN_EPS)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False),
                nn.BatchNorm2d(channels, eps=BN_EPS),
            )
            if stride != 1 or in_channels != channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> ``(B, C', H/stride, W/stride)``."""
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        change: Tensor = self.bn3(self.conv2(y))
        shortcut: Tensor = self.downsample(x)
        return change + shortcut


@MODELS.register_module()
class IResNet(BaseModule):  # type: ignore[misc]  # mmengine has no types
    """IResNet-18/34/50/100/200 for any input size divisible by 16.

    Names and shapes of the parameters are those of arcface_torch (``conv1``, ``bn1``, ``prelu``,
    ``layer1`` … ``layer4``, ``bn2``, ``fc``, ``features``), so its published weights can be loaded.

    Args:
        depth: 18, 34, 50, 100 or 200.
        embedding_size: Length d of the embedding.
        image_size: Side of the square input, px; a multiple of 16.
        in_channels: Channels of the input; more than 3 when renderer outputs are fused in.
        dropout: Probability of dropping a feature before the last linear layer, in [0, 1].
        init_cfg: See :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: If ``depth`` or ``image_size`` has a value that is not allowed.

    Example:
        ``backbone=dict(type="IResNet", depth=50)``
    """

    def __init__(
        self,
        depth: int = 18,
        embedding_size: int = 512,
        image_size: int = 112,
        in_channels: int = 3,
        dropout: float = 0.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth not in STAGE_BLOCKS:
            raise ValueError(f"depth: expected one of {sorted(STAGE_BLOCKS)}, found {depth!r}")
        final = final_size(image_size)
        self.conv1 = nn.Conv2d(in_channels, STAGE_CHANNELS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGE_CHANNELS[0], eps=BN_EPS)
        self.prelu = PReLU(STAGE_CHANNELS[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                *(
                    IBasicBlock(channels if i else previous, channels, 1 if i else 2)
                    for i in range(blocks)
                )
            )
            for previous, channels, blocks in zip(
                (64, *STAGE_CHANNELS), STAGE_CHANNELS, STAGE_BLOCKS[depth], strict=False
            )
        )
        self.bn2 = nn.BatchNorm2d(STAGE_CHANNELS[-1], eps=BN_EPS)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(STAGE_CHANNELS[-1] * final * final, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size, eps=BN_EPS)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images.

        Args:
            images: ``(B, in_channels, S, S)`` in [-1, 1].

        Returns:
            Unnormalised embeddings ``(B, embedding_size)`` float32.
        """
        x = self.prelu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.fc(self.dropout(torch.flatten(self.bn2(x), 1)))
        embeddings: Tensor = self.features(x.float())
        return embeddings
