"""The base class of reconstructors: it predicts light and view, renders, and has the losses."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lh2face.reconstruction.losses import confidence_l1
from lh2face.reconstruction.networks import Encoder, EncoderDecoder
from lh2face.reconstruction.pose import view_of_landmarks
from lh2face.registry import MODELS
from lh2face.rendering import GridMeshRenderer, lambert_shading, normals_from_depth, shade

# Limits of the view: rotations rx, ry, rz in rad, translations in units of the depth. Unsup3D's are
# 60° and 0.1. Aligned faces roll, nod and shift less. With wider limits, the network may learn
# views in which the face is outside of the image.
VIEW_RANGE = (math.radians(25), math.radians(75), math.radians(15), 0.03, 0.03, 0.1)
# Depth of the axis of rotation. Alignment keeps the landmarks, which are at the front of the face,
# in the middle of the image. With Unsup3D's value 1, a rotation by 45° would therefore need a shift
# by half the face, and the network learns only a third of the rotation.
ROTATION_CENTER = 0.94

# Sources from which the view can be learnt.
POSES = ("images", "landmarks")
# Weight of the distance between the network's view and the view of the landmarks.
POSE_WEIGHT = 1.0


class Reconstruction(NamedTuple):
    """The parts of a reconstructed face.

    Attributes:
        depth: ``(B, S, S)`` canonical depth, 0.9 … 1.1.
        albedo: ``(B, 3, S, S)`` in [−1, 1].
        light: ``(B, 4)``: ambient and diffuse strength in 0 … 1, lx and ly in −1 … 1.
        view: ``(B, 6)``: rx, ry, rz in rad, tx, ty, tz in units of the depth.
        shaded: ``(B, 3, S, S)`` the albedo in that light; above 1 where it is over-exposed.
        terms: Loss terms that depend on the canonical face only, scalars by name.
    """

    depth: Tensor
    albedo: Tensor
    light: Tensor
    view: Tensor
    shaded: Tensor
    terms: dict[str, Tensor]

    @property
    def canonical(self) -> Tensor:
        """The shaded face in the canonical view, ``(B, 3, S, S)`` in [−1, 1]."""
        return self.shaded.clamp(-1, 1)


class Reconstructor(nn.Module):
    """Base class of reconstructors, which learn by re-rendering faces as Unsup3D does (CVPR 2020).

    With ``pose="images"``, the view is also learnt by re-rendering. With ``pose="landmarks"``,
    faces are rendered in the view that fits their five landmarks
    (:mod:`lh2face.reconstruction.pose`), and the network learns to predict this view from the
    image, because there are no landmarks at inference.

    A subclass predicts the canonical face; this class predicts light, view and confidence. The face
    is assumed to be symmetric: depth and albedo that are flipped left to right must explain the
    image too (weight ``flip_weight``), except where the predicted confidence is low.

    Args:
        image_size: Side S of images and maps in px, a power of two ≥ 16.
        width: Number of channels of the networks' first layers.
        flip_weight: Weight of the reconstruction from the flipped face, ≥ 0.
        view_prior: Weight of the prior towards the frontal view, ≥ 0; used if ``pose`` is "images".
        renderer: Config of the renderer; its ``image_size`` is set here. ``None`` for a
            :class:`~lh2face.rendering.DepthMeshRenderer`.
        pose: Source from which the view is learnt, ``"images"`` or ``"landmarks"``.

    Raises:
        ValueError: If ``image_size`` or ``pose`` has another value.

    Attributes:
        min_depth: Nearest canonical depth.
        max_depth: Farthest canonical depth.
        read_size: Side of the images that the networks read, in px; other images are resized.
    """

    min_depth, max_depth = 0.9, 1.1
    view_range: Tensor

    def __init__(
        self,
        image_size: int,
        width: int,
        flip_weight: float,
        view_prior: float,
        renderer: dict[str, Any] | None,
        pose: str = "images",
    ) -> None:
        super().__init__()
        if pose not in POSES:
            raise ValueError(f"pose: expected one of {', '.join(POSES)}, found {pose!r}")
        self.pose = pose
        self.image_size = self.read_size = image_size
        self.flip_weight = flip_weight
        self.view_prior = view_prior
        self.drawing = {
            "type": "DepthMeshRenderer", "rotation_center": ROTATION_CENTER, **(renderer or {})
        }  # fmt: skip
        self.renderer: GridMeshRenderer = MODELS.build({**self.drawing, "image_size": image_size})
        self.confidence_network = EncoderDecoder(image_size, 2, width)
        self.light_network = Encoder(image_size, 4, width)
        self.view_network = Encoder(image_size, 6, width)
        self.register_buffer("view_range", torch.tensor(VIEW_RANGE), persistent=False)

    def canonical(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Predict the canonical face of images ``(B, 3, S, S)`` in [−1, 1].

        Returns:
            Depth ``(B, S, S)``, albedo ``(B, 3, S, S)`` in [−1, 1], and loss terms of the subclass,
            scalars by name.
        """
        raise NotImplementedError

    def enlarged(self) -> "Reconstructor":
        """Return a reconstructor for larger pictures; by default it is this one."""
        return self

    def read(self, images: Tensor) -> Tensor:
        """Resize images ``(B, 3, S, S)`` to the size that the networks read, ``read_size``."""
        size = (self.read_size, self.read_size)
        return images if images.shape[-2:] == size else F.interpolate(images, size, mode="area")

    def depth_of(self, images: Tensor) -> Tensor:
        """Predict only the canonical depth ``(B, S, S)``; a subclass may do this faster."""
        return self.canonical(images)[0]

    def surface(self, depth: Tensor) -> Tensor:
        """Return the depth to render, ``(B, S, S)``; NaN where the face has no surface."""
        return depth

    def forward(self, images: Tensor) -> Reconstruction:
        """Reconstruct faces, without rendering them.

        Args:
            images: ``(B, 3, S, S)`` in [−1, 1].

        Returns:
            The parts of the faces.

        Raises:
            ValueError: If the images have another shape.
        """
        size = self.image_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise ValueError(
                f"images: expected (B, 3, {size}, {size}), found {tuple(images.shape)}"
            )
        depth, albedo, terms = self.canonical(images)
        light = self.light_of(images)
        shaded = in_light(depth, albedo, light)
        return Reconstruction(depth, albedo, light, self.view_of(images), shaded, terms)

    def light_of(self, images: Tensor) -> Tensor:
        """Predict the light ``(B, 4)``: ambient and diffuse in 0 … 1, lx and ly in −1 … 1."""
        strength, direction = self.light_network(self.read(images)).split(2, dim=1)
        return torch.cat([strength / 2 + 0.5, direction], 1)

    def view_of(self, images: Tensor) -> Tensor:
        """Predict the view ``(B, 6)`` of images ``(B, 3, S, S)``."""
        view: Tensor = self.view_network(self.read(images)) * self.view_range
        return view

    def loss(
        self, images: Tensor, face: Reconstruction, landmarks: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            images: ``(B, 3, S, S)`` in [−1, 1].
            face: Result of :meth:`forward` for these images.
            landmarks: ``(B, 5, 2)`` in px of a crop of 112 × 112; used if ``pose`` is "landmarks".
                Without them the faces are rendered in the network's view.

        Returns:
            Scalars ``loss_image``, ``loss_flipped`` and the terms of the subclass; also
            ``loss_prior`` if ``pose`` is "images", or ``loss_pose`` if landmarks are used.
        """
        view, view_terms = self.view_and_terms(face.view, landmarks)
        depth, albedo = face.depth.flip(2), face.albedo.flip(3)
        # The face and the flipped face are rendered in one call.
        shaded = torch.cat([face.shaded, in_light(depth, albedo, face.light)])
        surface = self.surface(torch.cat([face.depth, depth]))
        drawn, covered = self.renderer.render(shaded, surface, view.repeat(2, 1))
        (image, flipped), (mask, flipped_mask) = drawn.chunk(2), covered.chunk(2)
        sigma = F.softplus(self.confidence_network(images))
        return {
            "loss_image": confidence_l1(image, images, mask, sigma[:, :1]),
            "loss_flipped": self.flip_weight
            * confidence_l1(flipped, images, flipped_mask, sigma[:, 1:]),
            **view_terms,
            **face.terms,
        }

    def view_and_terms(
        self, view: Tensor, landmarks: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the view ``(B, 6)`` in which faces are rendered, and the loss of ``view``.

        ``view`` is the network's prediction. It is the view to render in, unless landmarks are
        used.
        """
        if self.pose == "images":
            return view, {"loss_prior": self.view_prior * self.in_range(view).square().mean()}
        if landmarks is None:
            return view, {}
        with torch.no_grad():
            found = view_of_landmarks(landmarks, self.renderer.rotation_center)
            found = found.clamp(-self.view_range, self.view_range)
        return found, {"loss_pose": POSE_WEIGHT * self.in_range(view - found).abs().mean()}

    def in_range(self, view: Tensor) -> Tensor:
        """Divide views ``(B, 6)``, or differences of views, by the limits of a view."""
        return view / self.view_range

    def rendered(self, face: Reconstruction) -> tuple[Tensor, Tensor]:
        """Render the face in the view of the input.

        Returns:
            Image ``(B, 3, S, S)``, and a bool mask ``(B, S, S)`` of the face.
        """
        return self.renderer.render(face.shaded, self.surface(face.depth), face.view)

    def seen_depth(self, face: Reconstruction) -> tuple[Tensor, Tensor]:
        """Compute the depth in the view of the input, and its bool mask, both ``(B, S, S)``."""
        return self.renderer.warp_depth(self.surface(face.depth), face.view)

    def turned(self, face: Reconstruction, view: Tensor) -> Tensor:
        """Render the canonical face in views ``(B, 6)``: ``(B, 3, S, S)``, −1 outside the face."""
        image, mask = self.renderer.render(face.canonical, self.surface(face.depth), view)
        return torch.where(mask[:, None], image, -1)


def in_light(depth: Tensor, albedo: Tensor, light: Tensor) -> Tensor:
    """Shade the albedo of a surface ``(B, S, S)`` in a light ``(B, 4)``: ``(B, 3, S, S)``."""
    return shade(albedo, lambert_shading(normals_from_depth(depth), light))
