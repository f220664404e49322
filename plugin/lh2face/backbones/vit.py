"""Vision Transformer (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929) in the variant for faces of
arcface_torch."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from lh2face.arguments import at_least, between
from lh2face.backbones.sizes import LARGEST
from lh2face.registry import MODELS

BN_EPS = 2e-5


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, width)`` -> the same shape."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


class Mlp(nn.Module):
    """Two linear layers with a ReLU6 between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(…, width)`` -> the same shape."""
        y: Tensor = self.fc2(F.relu6(self.fc1(x)))
        return y


class Block(nn.Module):
    """Attention and two linear layers, each with pre-normalisation and a residual connection.

    In training, each of the two residual branches is dropped for a sample with probability
    ``drop_path`` (stochastic depth; Huang et al., ECCV 2016).
    """

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, width)`` -> the same shape."""
        x = x + self.drop_samples(self.attn(self.norm1(x)))
        return x + self.drop_samples(self.mlp(self.norm2(x)))

    def drop_samples(self, x: Tensor) -> Tensor:
        """In training, set random samples to 0, and scale the others to keep the expected value."""
        if not self.training or self.drop_path == 0:
            return x
        kept = 1 - self.drop_path
        return x * (torch.rand(len(x), 1, 1, device=x.device) < kept) / kept


class PatchEmbed(nn.Module):
    """A linear map of each square patch of the image."""

    def __init__(self, in_channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, S, S)`` -> ``(B, N, width)``, row after row."""
        patches: Tensor = self.proj(images)
        return patches.flatten(2).transpose(1, 2)


@MODELS.register_module()
class VisionTransformer(BaseModule):  # type: ignore[misc]  # mmengine has no types
    """ViT without a class token; the embedding is computed from all patches.

    Names and shapes of parameters are those of arcface_torch, so its weights can be loaded:

    | arcface_torch | width | depth | drop_path | mask_ratio |
    |---|---|---|---|---|
    | vit_t, vit_t_dp005_mask0 | 256 | 12 | 0.1, 0.05 | 0.1, 0 |
    | vit_s, vit_s_dp005_mask_0 | 512 | 12 | 0.1, 0.05 | 0.1, 0 |
    | vit_b, vit_b_dp005_mask_005 | 512 | 24 | 0.1, 0.05 | 0.1, 0.05 |
    | vit_l_dp005_mask_005 | 768 | 24 | 0.05 | 0.05 |
    | vit_h | 1024 | 48 | 0.1 | 0 |

    Args:
        embedding_size: Length d of the embedding.
        image_size: Side S of the square input, px. Pixels on the right and at the bottom that do
            not fill a patch are not used; with the defaults these are 4 px.
        in_channels: Channels of the input; more than 3 when renderer outputs are fused in.
        patch_size: Side of a patch, px.
        width: Channels of a token; a multiple of ``heads``.
        depth: Number of blocks.
        heads: Heads of each attention.
        drop_path: Probability of stochastic depth in the last block, in [0, 0.99]; it rises
            linearly from 0 in the first block.
        mask_ratio: Share of the patches that the blocks do not see in training, in [0, 0.99]; a
            learnt token replaces them in the embedding.
        init_cfg: See :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: If an argument is out of its range, or the image is smaller than a patch.

    Example:
        ``backbone=dict(type="VisionTransformer", embedding_size=512, image_size=112, width=512)``
    """

    def __init__(
        self,
        embedding_size: int = 512,
        image_size: int = 112,
        in_channels: int = 3,
        patch_size: int = 9,
        width: int = 256,
        depth: int = 12,
        heads: int = 8,
        drop_path: float = 0.1,
        mask_ratio: float = 0.1,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        for name, value in (("patch_size", patch_size), ("depth", depth), ("heads", heads)):
            at_least(name, value, 1)
        if at_least("width", width, 1) % heads:
            raise ValueError(f"width: expected a multiple of heads, {heads}, found {width}")
        if not patch_size <= at_least("image_size", image_size, 1) <= LARGEST:
            raise ValueError(
                f"image_size: expected at least the side of a patch, {patch_size}, and at most "
                f"{LARGEST}, found {image_size}"
            )
        between("drop_path", drop_path, 0, 0.99)
        self.mask_ratio = between("mask_ratio", mask_ratio, 0, 0.99)
        patches = (image_size // patch_size) ** 2
        self.patch_embed = PatchEmbed(in_channels, width, patch_size)
        self.pos_embed = nn.Parameter(torch.empty(1, patches, width))
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList(Block(width, heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(patches * width, width, bias=False),
            nn.BatchNorm1d(width, eps=BN_EPS),
            nn.Linear(width, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size, eps=BN_EPS),
        )
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images.

        Args:
            images: ``(B, in_channels, S, S)`` in [-1, 1].

        Returns:
            Unnormalised embeddings ``(B, embedding_size)`` float32.
        """
        x = self.patch_embed(images) + self.pos_embed
        x = self.encode_some(x) if self.training and self.mask_ratio > 0 else self.encode(x)
        *layers, last = self.feature
        x = x.flatten(1)
        for layer in layers:
            x = layer(x)
        embeddings: Tensor = last(x.float())
        return embeddings

    def encode(self, x: Tensor) -> Tensor:
        """Pass tokens ``(B, N, width)`` through all blocks and the last normalisation."""
        for block in self.blocks:
            x = block(x)
        normalised: Tensor = self.norm(x.float())
        return normalised

    def encode_some(self, x: Tensor) -> Tensor:
        """Apply :meth:`encode` to some random tokens; the mask token replaces the others."""
        batch, tokens, width = x.shape
        kept = max(1, int(tokens * (1 - self.mask_ratio)))
        places = torch.rand(batch, tokens, device=x.device).argsort(1)[:, :kept, None]
        places = places.expand(-1, -1, width)
        seen = self.encode(x.gather(1, places))
        blank = self.mask_token.to(seen.dtype).expand(batch, tokens, width)
        return blank.scatter(1, places, seen)
