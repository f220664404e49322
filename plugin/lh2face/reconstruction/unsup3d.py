"""Unsupervised reconstruction from single images, after Unsup3D (Wu et al., CVPR 2020)."""

from typing import Any

import torch
from torch import Tensor

from lh2face.reconstruction.base import Reconstructor
from lh2face.reconstruction.networks import EncoderDecoder
from lh2face.registry import MODELS

# Half-axes of the dome with which the depth begins, in units of half the image's side. Without it,
# the network may learn hollow faces.
DOME = (0.8, 1.0)
# Share of columns at either side that are fixed at a far depth, so that the face stands out.
BORDER_FRACTION = 1 / 32


@MODELS.register_module()
class Unsup3DReconstructor(Reconstructor):
    """Canonical depth and albedo as maps that a network predicts freely, without a face model.

    Args:
        image_size: Side S of images and maps in px, a power of two ≥ 16.
        width: Number of channels of the networks' first layers.
        flip_weight: Weight of the reconstruction from the flipped face, ≥ 0.
        view_prior: Weight of the prior towards the frontal view, ≥ 0; used if ``pose`` is "images".
        smooth_weight: Weight of the mean squared second differences of the depth, ≥ 0.
        renderer: Config of the renderer; its ``image_size`` is set here. ``None`` for a
            :class:`~lh2face.rendering.DepthMeshRenderer`.
        pose: Source from which the view is learnt, ``"images"`` or ``"landmarks"``.

    Raises:
        ValueError: If ``image_size`` or ``pose`` has another value.
    """

    border: Tensor
    dome: Tensor

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
        """Predict the depth ``(B, S, S)``; its left and right borders are fixed at a far depth."""
        raw = self.depth_network(images)[:, 0]
        relief = (raw - raw.mean((1, 2), keepdim=True) - self.dome).tanh() / 2 + 0.5
        depth = self.min_depth + (self.max_depth - self.min_depth) * relief
        far = 0.3 * self.min_depth + 0.7 * self.max_depth
        return torch.lerp(depth, torch.full_like(depth, far), self.border)

    def canonical(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Predict depth, albedo and ``loss_smooth``, as the base class describes."""
        depth = self.depth_of(images)
        second = depth.diff(n=2, dim=1).square().mean() + depth.diff(n=2).square().mean()
        return (
            depth,
            self.albedo_network(images).tanh(),
            {"loss_smooth": self.smooth_weight * second},
        )
