"""Reconstruction from single images, unsupervised, after Unsup3D (Wu et al., CVPR 2020)."""

from typing import Any

import torch
from torch import Tensor

from lh2face.reconstruction.base import Reconstructor
from lh2face.reconstruction.networks import EncoderDecoder
from lh2face.registry import MODELS

# Half-axes of the dome, in half images, that the depth starts from: it keeps faces from being
# learnt as hollow.
DOME = (0.8, 1.0)
# Columns at either side that are held at the far border depth, so that the face is what stands out.
BORDER_FRACTION = 1 / 32


@MODELS.register_module()
class Unsup3DReconstructor(Reconstructor):
    """Canonical depth and albedo as free maps, learnt from images alone.

    Args:
        image_size: Side S, a power of two ≥ 16.
        width: Channels of the networks' first layers.
        flip_weight: Weight of the reconstruction from the flipped face.
        view_prior: Weight of the pull of the view to the front.
        smooth_weight: Weight of the depth's second differences.
        renderer: Config of the renderer; its ``image_size`` is filled in.
        pose: What the view is learnt from, ``"images"`` or ``"landmarks"``.
    """

    def __init__(
        self,
        image_size: int = 64,
        width: int = 16,
        flip_weight: float = 0.5,
        view_prior: float = 0.05,
        smooth_weight: float = 300.0,
        renderer: dict[str, Any] | None = None,
        pose: str = "images",
    ) -> None:
        super().__init__(image_size, width, flip_weight, view_prior, renderer, pose)
        self.smooth_weight = smooth_weight
        self.depth_network = EncoderDecoder(image_size, 1, width)
        self.albedo_network = EncoderDecoder(image_size, 3, width)
        border = torch.zeros(image_size, image_size)
        columns = max(1, round(image_size * BORDER_FRACTION))
        border[:, :columns] = border[:, -columns:] = 1
        self.register_buffer("border", border, persistent=False)
        axis = torch.linspace(-1, 1, image_size)
        radius = (axis / DOME[0]).square() + (axis[:, None] / DOME[1]).square()
        self.register_buffer("dome", 1.2 * (-radius).exp(), persistent=False)

    def depth_of(self, images: Tensor) -> Tensor:
        """Depth whose side borders stay far."""
        raw = self.depth_network(images)[:, 0]
        relief = (raw - raw.mean((1, 2), keepdim=True) - self.dome).tanh() / 2 + 0.5
        depth = self.min_depth + (self.max_depth - self.min_depth) * relief
        far = 0.3 * self.min_depth + 0.7 * self.max_depth
        return torch.lerp(depth, torch.full_like(depth, far), self.border)

    def canonical(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Depth, albedo, and ``loss_smooth``."""
        depth = self.depth_of(images)
        second = depth.diff(n=2, dim=1).square().mean() + depth.diff(n=2).square().mean()
        return (
            depth,
            self.albedo_network(images).tanh(),
            {"loss_smooth": self.smooth_weight * second},
        )
