"""What reconstructors share: light and view of a face, rendering it again, the losses of that."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lh2face.reconstruction.losses import confidence_l1
from lh2face.reconstruction.networks import Encoder, EncoderDecoder
from lh2face.reconstruction.pose import view_of_landmarks
from lh2face.registry import MODELS
from lh2face.rendering import lambert_shading, normals_from_depth, shade

# Ranges of the view: rotations in rad, shifts in units of the depth. Unsup3D has 60° and 0.1 all
# over; aligned faces roll, nod and shift little, and more room lets the view look past the face.
VIEW_RANGE = (math.radians(25), math.radians(75), math.radians(15), 0.03, 0.03, 0.1)
# Depth about which an aligned face turns: alignment brings its landmarks back to the middle, and
# they lie at the front. About 1, as Unsup3D has it, a turn of 45° needs a shift of half the face,
# and the network learns a third of the turn instead.
ROTATION_CENTER = 0.94

# What the view can be learnt from.
POSES = ("images", "landmarks")
# Weight of the distance of the network's view from that of the landmarks.
POSE_WEIGHT = 1.0


class Reconstruction(NamedTuple):
    """A face taken apart.

    Attributes:
        depth: ``(B, S, S)`` canonical depth, 0.9 … 1.1.
        albedo: ``(B, 3, S, S)`` in [−1, 1].
        light: ``(B, 4)``: ambient, diffuse, lx, ly.
        view: ``(B, 6)``: rx, ry, rz in rad, tx, ty, tz.
        shaded: ``(B, 3, S, S)`` the albedo in that light, above 1 where it is over-exposed.
        terms: Loss terms of the canonical face alone, scalars.
    """

    depth: Tensor
    albedo: Tensor
    light: Tensor
    view: Tensor
    shaded: Tensor
    terms: dict[str, Tensor]

    @property
    def canonical(self) -> Tensor:
        """``(B, 3, S, S)`` the shaded face in the canonical view, in [−1, 1]."""
        return self.shaded.clamp(-1, 1)


class Reconstructor(nn.Module):
    """Base of the reconstructors, learnt by rendering faces again after Unsup3D (CVPR 2020).

    The view is learnt by that too, or from landmarks: then faces are rendered in the view that
    their five landmarks say (:mod:`lh2face.reconstruction.pose`), and the network learns to tell it
    from the image, which is all there is of a face later.

    A subclass gives the canonical face; light, view and confidence are predicted here. The face is
    taken to be symmetric: depth and albedo flipped left to right must explain the image too (weight
    ``flip_weight``), where the confidence map admits it.

    Args:
        image_size: Side S, a power of two ≥ 16.
        width: Channels of the networks' first layers.
        flip_weight: Weight of the reconstruction from the flipped face.
        view_prior: Weight of the pull of the view to the front.
        renderer: Config of the renderer; its ``image_size`` is filled in.
        pose: What the view is learnt from, ``"images"`` or ``"landmarks"``.

    Raises:
        ValueError: If ``pose`` is another.

    Attributes:
        min_depth: Nearest canonical depth.
        max_depth: Farthest canonical depth.
        read_size: Side of the images that the networks read, px; others are resized.
    """

    min_depth, max_depth = 0.9, 1.1

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
        self.renderer = MODELS.build({**self.drawing, "image_size": image_size})
        self.confidence_network = EncoderDecoder(image_size, 2, width)
        self.light_network = Encoder(image_size, 4, width)
        self.view_network = Encoder(image_size, 6, width)
        self.register_buffer("view_range", torch.tensor(VIEW_RANGE), persistent=False)

    def canonical(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Depth ``(B, S, S)``, albedo ``(B, 3, S, S)`` in [−1, 1], and loss terms of its own."""
        raise NotImplementedError

    def enlarged(self) -> "Reconstructor":
        """The reconstructor that draws pictures: this one, where it knows no finer faces."""
        return self

    def read(self, images: Tensor) -> Tensor:
        """Images ``(B, 3, S, S)`` at the size that the networks read."""
        size = (self.read_size, self.read_size)
        return images if images.shape[-2:] == size else F.interpolate(images, size, mode="area")

    def depth_of(self, images: Tensor) -> Tensor:
        """The canonical depth alone, ``(B, S, S)``; a subclass may find it with less work."""
        return self.canonical(images)[0]

    def surface(self, depth: Tensor) -> Tensor:
        """The depth that is rendered: NaN where a canonical face has no surface."""
        return depth

    def forward(self, images: Tensor) -> Reconstruction:
        """Take faces apart; nothing is rendered.

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
        depth, albedo, terms = self.canonical(images)
        light = self.light_of(images)
        shaded = in_light(depth, albedo, light)
        return Reconstruction(depth, albedo, light, self.view_of(images), shaded, terms)

    def light_of(self, images: Tensor) -> Tensor:
        """``(B, 4)``: ambient and diffuse in 0 … 1, lx and ly in −1 … 1."""
        strength, direction = self.light_network(self.read(images)).split(2, dim=1)
        return torch.cat([strength / 2 + 0.5, direction], 1)

    def view_of(self, images: Tensor) -> Tensor:
        """The view of images ``(B, 3, S, S)``, and nothing else of them: ``(B, 6)``."""
        return self.view_network(self.read(images)) * self.view_range

    def loss(
        self, images: Tensor, face: Reconstruction, landmarks: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            images: ``(B, 3, S, S)`` in [−1, 1].
            face: What :meth:`forward` made of them.
            landmarks: ``(B, 5, 2)`` px of a crop of 112 × 112; read if the pose is learnt from
                them. Without them the faces are rendered in the network's view.

        Returns:
            Scalars ``loss_image``, ``loss_flipped``, those of the subclass, and ``loss_prior``, or
            ``loss_pose`` if the pose is learnt from landmarks that are given.
        """
        view, view_terms = self.view_and_terms(face.view, landmarks)
        depth, albedo = face.depth.flip(2), face.albedo.flip(3)
        # The face and the flipped face are drawn in one call.
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
        """The view ``(B, 6)`` to render in, and the loss of the network's own, ``view``."""
        if self.pose == "images":
            return view, {"loss_prior": self.view_prior * self.in_range(view).square().mean()}
        if landmarks is None:
            return view, {}
        with torch.no_grad():
            found = view_of_landmarks(landmarks, self.renderer.rotation_center)
            found = found.clamp(-self.view_range, self.view_range)
        return found, {"loss_pose": POSE_WEIGHT * self.in_range(view - found).abs().mean()}

    def in_range(self, view: Tensor) -> Tensor:
        """A view in shares of its range."""
        return view / self.view_range

    def rendered(self, face: Reconstruction) -> tuple[Tensor, Tensor]:
        """The face rendered again in the input's view ``(B, 3, S, S)``, and where the
        face is ``(B, S, S)`` bool."""
        return self.renderer.render(face.shaded, self.surface(face.depth), face.view)

    def seen_depth(self, face: Reconstruction) -> tuple[Tensor, Tensor]:
        """Depth in the input's view ``(B, S, S)``, and where there is one ``(B, S, S)`` bool."""
        return self.renderer.warp_depth(self.surface(face.depth), face.view)

    def turned(self, face: Reconstruction, view: Tensor) -> Tensor:
        """The canonical face in other views ``(B, 6)``: ``(B, 3, S, S)``, −1 off the face."""
        image, mask = self.renderer.render(face.canonical, self.surface(face.depth), view)
        return torch.where(mask[:, None], image, -1)


def in_light(depth: Tensor, albedo: Tensor, light: Tensor) -> Tensor:
    """The albedo of a surface ``(B, S, S)`` in a light ``(B, 4)``: ``(B, 3, S, S)``."""
    return shade(albedo, lambert_shading(normals_from_depth(depth), light))
