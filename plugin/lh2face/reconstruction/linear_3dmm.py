"""Reconstruction by a linear 3D morphable model (Blanz and Vetter, SIGGRAPH 1999)."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lh2face.data.synthetic.canonical import canonical_faces
from lh2face.reconstruction.base import Reconstructor
from lh2face.reconstruction.networks import Encoder
from lh2face.registry import MODELS

# Limit of the coefficients, in standard deviations of the faces that the model was fitted to.
LIMIT = 3.0
# Greatest number of pixels of all fitted faces together. A pixel takes 16 bytes, and twice as much
# during the fit.
LARGEST = 1 << 26


@MODELS.register_module()
class Linear3DMMReconstructor(Reconstructor):
    """Canonical depth and albedo as a mean plus modes, whose coefficients a network predicts.

    The modes are principal components of synthetic faces, of people who are in no data set. In
    training, networks learn to predict coefficients, light and view from an image, by re-rendering
    the image.

    Args:
        image_size: Side S of images and maps in px, a power of two ≥ 16.
        width: Number of channels of the networks' first layers.
        shape_modes: Number of modes of the depth.
        albedo_modes: Number of modes of the albedo.
        faces: Number of synthetic faces to which the modes are fitted; more than the modes.
        coefficient_prior: Weight of the mean square of the coefficients, ≥ 0.
        flip_weight: Weight of the reconstruction from the flipped face, ≥ 0.
        view_prior: Weight of the prior towards the frontal view, ≥ 0; used if ``pose`` is "images".
        renderer: Config of the renderer; its ``image_size`` is set here. ``None`` for a
            :class:`~lh2face.rendering.DepthMeshRenderer`.
        pose: Source from which the view is learnt, ``"images"`` or ``"landmarks"``.
        picture_size: Side of the maps for pictures in px, a multiple of S; S if ``None``. It does
            not slow down training.

    Raises:
        ValueError: If an argument is out of its range, or the faces would need too much memory.
    """

    head: Tensor

    def __init__(
        self,
        image_size: int = 64,
        width: int = 16,
        shape_modes: int = 20,
        albedo_modes: int = 40,
        faces: int = 300,
        coefficient_prior: float = 0.02,
        flip_weight: float = 0.5,
        view_prior: float = 0.05,
        renderer: dict[str, Any] | None = None,
        pose: str = "images",
        picture_size: int | None = None,
    ) -> None:
        super().__init__(image_size, width, flip_weight, view_prior, renderer, pose)
        if not max(shape_modes, albedo_modes) < faces:
            raise ValueError(
                f"faces: expected more than shape_modes and albedo_modes, {shape_modes} and "
                f"{albedo_modes}, found {faces}"
            )
        self.coefficient_prior = coefficient_prior
        self.counts = [shape_modes, albedo_modes]
        self.coefficient_network = Encoder(image_size, shape_modes + albedo_modes, width)
        self.picture_size = size = picture_size or image_size
        if size % image_size:
            raise ValueError(f"picture_size: expected a multiple of {image_size}, found {size}")
        if faces * size**2 > LARGEST:
            raise ValueError(
                f"faces: expected at most {LARGEST // size**2} of {size} px, found {faces}"
            )
        pixels = size**2
        self.register_buffer("head", torch.zeros(size, size, dtype=torch.bool))
        for name, length, count in (
            ("shape", pixels, shape_modes),
            ("skin", 3 * pixels, albedo_modes),
        ):
            self.register_buffer(f"{name}_mean", torch.zeros(length))
            self.register_buffer(f"{name}_modes", torch.zeros(count, length))
        if not self.head.is_meta:  # on the meta device, only the shapes are needed
            self.fit_modes(faces)

    def fit_modes(self, faces: int) -> None:
        """Fit means and modes to a number of synthetic faces, which are always the same."""
        with torch.device("cpu"):
            depth, albedo, head = canonical_faces(faces, self.picture_size)
        self.head.copy_(head)
        for name, maps in (("shape", depth), ("skin", albedo)):
            mean, modes = getattr(self, f"{name}_mean"), getattr(self, f"{name}_modes")
            for buffer, values in zip(
                (mean, modes), principal_components(maps.flatten(1), len(modes)), strict=True
            ):
                buffer.copy_(values)

    def canonical(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Predict depth, albedo and ``loss_coefficients``, as the base class describes."""
        coefficients = LIMIT * self.coefficient_network(self.read(images))
        shape, skin = coefficients.split(self.counts, dim=1)
        depth = self.maps("shape", 1, shape)[:, 0]
        albedo = self.maps("skin", 3, skin)
        prior = self.coefficient_prior * coefficients.square().mean()
        return (
            depth.clamp(self.min_depth, self.max_depth),
            albedo.clamp(-1, 1),
            {"loss_coefficients": prior},
        )

    def surface(self, depth: Tensor) -> Tensor:
        """Return the depth with NaN outside of the head, where there is no surface."""
        head = self.sized(self.head[None, None].float())[0, 0] > 0.5
        return torch.where(head, depth, torch.nan)

    def enlarged(self) -> "Linear3DMMReconstructor":
        """Return a copy of the model whose maps and renderer have the side ``picture_size``."""
        large = copy.deepcopy(self)
        large.image_size = self.picture_size
        large.renderer = MODELS.build({**self.drawing, "image_size": self.picture_size})
        return large

    def maps(self, name: str, channels: int, coefficients: Tensor) -> Tensor:
        """Compute maps ``(B, channels, S, S)``: the mean plus the modes times ``coefficients``."""
        size = self.picture_size
        mean, modes = getattr(self, f"{name}_mean"), getattr(self, f"{name}_modes")
        # Modes are resized instead of faces: they are fewer and have no gradient.
        small = self.sized(torch.cat([mean[None], modes]).view(-1, channels, size, size))
        return (small[0].flatten() + coefficients @ small[1:].flatten(1)).view(-1, *small.shape[1:])

    def sized(self, maps: Tensor) -> Tensor:
        """Resize maps ``(N, C, P, P)`` from ``picture_size`` to ``image_size``."""
        return F.avg_pool2d(maps, self.picture_size // self.image_size)


def principal_components(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Compute the mean and the first principal components of rows ``(N, D)``.

    Returns:
        The mean ``(D,)`` and the components ``(count, D)``, ``count`` < N. The length of a
        component is the standard deviation of the rows along it.
    """
    mean = rows.mean(0)
    _, lengths, modes = torch.linalg.svd(rows - mean, full_matrices=False)
    return mean, lengths[:count, None] * modes[:count] / (len(rows) - 1) ** 0.5
