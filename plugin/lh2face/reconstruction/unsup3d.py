"""Reconstruction from single images, unsupervised, after Unsup3D (Wu et al., CVPR 2020)."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lh2face.reconstruction.losses import confidence_l1
from lh2face.reconstruction.networks import Encoder, EncoderDecoder
from lh2face.registry import MODELS
from lh2face.rendering import lambert_shading, normals_from_depth, shade

# Ranges of the view: rotations in rad, shifts in units of the depth. Unsup3D has 60° and 0.1 all
# over; aligned faces roll, nod and shift little, and more room lets the view look past the face.
VIEW_RANGE = (math.radians(25), math.radians(75), math.radians(15), 0.02, 0.02, 0.02)
# Half-axes of the dome, in half images, that the depth starts from: it keeps faces from being
# learnt as hollow.
DOME = (0.8, 1.0)
# Columns at either side that are held at the far border depth, so that the face is what stands out.
BORDER_FRACTION = 1 / 32


class Reconstruction(NamedTuple):
    """A face taken apart.

    Attributes:
        depth: ``(B, S, S)`` canonical depth, 0.9 … 1.1.
        albedo: ``(B, 3, S, S)`` in [−1, 1].
        light: ``(B, 4)``: ambient, diffuse, lx, ly.
        view: ``(B, 6)``: rx, ry, rz in rad, tx, ty, tz.
        canonical: ``(B, 3, S, S)`` the shaded face in the canonical view.
        image: ``(B, 3, S, S)`` the re-rendering in the input's view.
        mask: ``(B, S, S)`` bool, where the re-rendering shows the face.
    """

    depth: Tensor
    albedo: Tensor
    light: Tensor
    view: Tensor
    canonical: Tensor
    image: Tensor
    mask: Tensor


@MODELS.register_module()
class Unsup3DReconstructor(nn.Module):
    """Canonical depth, albedo, light and view of a face, learnt by rendering it again.

    The face is taken to be symmetric: depth and albedo flipped left to right must explain the
    image too (weight ``flip_weight``), where the confidence map admits it.

    Args:
        image_size: Side S, a power of two ≥ 16.
        width: Channels of the networks' first layers.
        min_depth: Nearest canonical depth.
        max_depth: Farthest canonical depth.
        flip_weight: Weight of the reconstruction from the flipped face.
        view_prior: Weight of the pull of the view to the front.
        smooth_weight: Weight of the depth's second differences.
        renderer: Config of the renderer; its ``image_size`` is filled in.
    """

    def __init__(
        self,
        image_size: int = 64,
        width: int = 16,
        min_depth: float = 0.9,
        max_depth: float = 1.1,
        flip_weight: float = 0.5,
        view_prior: float = 0.05,
        smooth_weight: float = 300.0,
        renderer: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.min_depth, self.max_depth = min_depth, max_depth
        self.flip_weight = flip_weight
        self.view_prior = view_prior
        self.smooth_weight = smooth_weight
        self.renderer = MODELS.build(
            {"type": "DepthMeshRenderer", **(renderer or {}), "image_size": image_size}
        )
        self.depth_network = EncoderDecoder(image_size, 1, width)
        self.albedo_network = EncoderDecoder(image_size, 3, width)
        self.confidence_network = EncoderDecoder(image_size, 2, width)
        self.light_network = Encoder(image_size, 4, width)
        self.view_network = Encoder(image_size, 6, width)
        self.register_buffer("view_range", torch.tensor(VIEW_RANGE), persistent=False)
        border = torch.zeros(image_size, image_size)
        columns = max(1, round(image_size * BORDER_FRACTION))
        border[:, :columns] = border[:, -columns:] = 1
        self.register_buffer("border", border, persistent=False)
        axis = torch.linspace(-1, 1, image_size)
        radius = (axis / DOME[0]).square() + (axis[:, None] / DOME[1]).square()
        self.register_buffer("dome", 1.2 * (-radius).exp(), persistent=False)

    def forward(self, images: Tensor) -> Reconstruction:
        """Take faces apart.

        Args:
            images: ``(B, 3, S, S)`` in [−1, 1].

        Raises:
            ValueError: If the images are of another size.
        """
        size = self.image_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise ValueError(
                f"images: expected (B, 3, {size}, {size}), found {tuple(images.shape)}"
            )
        depth = self.canonical_depth(images)
        albedo = self.albedo_network(images).tanh()
        light = self.light_of(images)
        view = self.view_network(images) * self.view_range
        return self.assemble(depth, albedo, light, view)

    def canonical_depth(self, images: Tensor) -> Tensor:
        """``(B, S, S)``; the side borders stay far."""
        raw = self.depth_network(images)[:, 0]
        relief = (raw - raw.mean((1, 2), keepdim=True) - self.dome).tanh() / 2 + 0.5
        depth = self.min_depth + (self.max_depth - self.min_depth) * relief
        far = 0.3 * self.min_depth + 0.7 * self.max_depth
        return torch.lerp(depth, torch.full_like(depth, far), self.border)

    def light_of(self, images: Tensor) -> Tensor:
        """``(B, 4)``: ambient and diffuse in 0 … 1, lx and ly in −1 … 1."""
        strength, direction = self.light_network(images).split(2, dim=1)
        return torch.cat([strength / 2 + 0.5, direction], 1)

    def assemble(
        self, depth: Tensor, albedo: Tensor, light: Tensor, view: Tensor
    ) -> Reconstruction:
        """Shade and render what a face was taken apart into."""
        canonical = shade(albedo, lambert_shading(normals_from_depth(depth), light))
        image, mask = self.renderer.render(canonical, depth, view)
        return Reconstruction(depth, albedo, light, view, canonical.clamp(-1, 1), image, mask)

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            images: ``(B, 3, S, S)`` in [−1, 1].

        Returns:
            Scalars ``loss_image``, ``loss_flipped``, ``loss_prior`` and ``loss_smooth``.
        """
        face = self(images)
        flipped = self.assemble(face.depth.flip(2), face.albedo.flip(3), face.light, face.view)
        sigma = F.softplus(self.confidence_network(images))
        second = face.depth.diff(n=2, dim=1).square().mean() + face.depth.diff(n=2).square().mean()
        return {
            "loss_image": confidence_l1(face.image, images, face.mask, sigma[:, :1]),
            "loss_flipped": self.flip_weight
            * confidence_l1(flipped.image, images, flipped.mask, sigma[:, 1:]),
            "loss_prior": self.view_prior * (face.view / self.view_range).square().mean(),
            "loss_smooth": self.smooth_weight * second,
        }

    def turned(self, face: Reconstruction, view: Tensor) -> Tensor:
        """The canonical face in other views ``(B, 6)``: ``(B, 3, S, S)``, −1 off the face."""
        image, mask = self.renderer.render(face.canonical, face.depth, view)
        return torch.where(mask[:, None], image, -1)
