"""Differentiable renderer of depth-grid meshes in plain tensor operations."""

import torch
from torch import Tensor, nn

from ..registry import MODELS
from .camera import back_project, project, transform
from .rasterize import rasterize

NEAR = 0.01  # vertices nearer to the camera plane than this are left out


def check_render_input(
    image_size: int, depth: Tensor, view: Tensor, texture: Tensor | None
) -> None:
    """Raise ValueError unless shapes are (B, S, S), (B, 6) and (B, C, S, S)."""
    grid = (image_size, image_size)
    if depth.ndim != 3 or depth.shape[1:] != grid:
        raise ValueError(
            f"depth must be (B, {image_size}, {image_size}), as the renderer was built with "
            f"image_size={image_size}; found {tuple(depth.shape)}"
        )
    if view.shape != (len(depth), 6):
        raise ValueError(
            f"view must be ({len(depth)}, 6) = (rx, ry, rz, tx, ty, tz), one row per depth map; "
            f"found {tuple(view.shape)}"
        )
    if texture is not None and (
        texture.ndim != 4 or texture.shape[0] != len(depth) or texture.shape[2:] != grid
    ):
        raise ValueError(
            f"texture must be ({len(depth)}, C, {image_size}, {image_size}) to lie on the depth "
            f"map; found {tuple(texture.shape)}"
        )


def interpolate(points: Tensor, triangle: Tensor, attributes: Tensor | None) -> Tensor:
    """Perspective-correct value at every pixel of the triangle that covers it, 0 where none.

    Differentiable in ``points`` and ``attributes``.

    Args:
        points: (B, 3, S, S) = (u, v, 1/z) of the grid vertices.
        triangle: (B, S, S) triangle numbers of :func:`rasterize`, -1 for none.
        attributes: (B, C, S, S) at the vertices, or None for the depth z alone.

    Returns:
        (B, C, S, S), or (B, 1, S, S) depth.
    """
    batch, _, size, _ = points.shape
    mask = triangle >= 0
    number = triangle.clamp(min=0).flatten(1)
    vertex, half = number >> 1, number & 1
    corners = torch.cat((vertex + half, vertex + size, vertex + 1 + half * size), 1)[:, None]
    table = points if attributes is None else torch.cat((points, attributes), 1)
    channels = table.shape[1]
    table = table.flatten(2).gather(2, corners.expand(-1, channels, -1))
    a, b, c = table.view(batch, channels, 3, size, size).unbind(2)
    grid = torch.arange(size, dtype=points.dtype, device=points.device)
    (ua, va), (ub, vb), (uc, vc) = (
        (corner[:, 0] - grid, corner[:, 1] - grid[:, None]) for corner in (a, b, c)
    )
    # Twice the signed areas opposite the corners: unnormalised barycentric coordinates.
    areas = (ub * vc - uc * vb, uc * va - ua * vc, ua * vb - ub * va)
    weights = [area * corner[:, 2] for area, corner in zip(areas, (a, b, c), strict=True)]
    total = torch.where(mask, sum(weights), 1)
    if attributes is None:
        return torch.where(mask, sum(areas), 0).div(total)[:, None]
    value = sum(
        (weight / total)[:, None] * corner[:, 3:]
        for weight, corner in zip(weights, (a, b, c), strict=True)
    )
    return torch.where(mask[:, None], value, 0)


@MODELS.register_module()
class DepthMeshRenderer(nn.Module):
    """Turns a depth map (as a triangle mesh with a texture) and renders it, differentiably.

    Exact coverage with a z-buffer; gradients to depth, view and texture through perspective-correct
    barycentric coordinates (coverage itself has no gradient, as in PyTorch3D with one face per
    pixel and no blur). Both sides of the surface show, so a view beyond ±90° gives its inside.
    Vertices whose depth is NaN, infinite or not positive, or that come within 0.01 of the camera
    plane, are holes: the triangles at them are left out and they get no gradient; a view that is
    not finite gives an empty mask. Works under ``torch.compile`` (no graph break); memory is linear
    in the number of pixels.

    Args:
        image_size: S, the side of depth maps, textures and rendered images, ≥ 2.
        fov_deg: field of view of the camera, degrees.
        rotation_center: depth about which views rotate.
    """

    def __init__(
        self, image_size: int, fov_deg: float = 10.0, rotation_center: float = 1.0
    ) -> None:
        super().__init__()
        if image_size < 2:
            raise ValueError(
                f"image_size must be at least 2 to hold a triangle; found {image_size}"
            )
        if not 0 < fov_deg < 180:
            raise ValueError(f"fov_deg must lie between 0 and 180; found {fov_deg}")
        self.image_size = image_size
        self.fov_deg = fov_deg
        self.rotation_center = rotation_center

    def extra_repr(self) -> str:
        return (
            f"image_size={self.image_size}, fov_deg={self.fov_deg}, "
            f"rotation_center={self.rotation_center}"
        )

    def warp_depth(self, depth: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Depth map seen from a view.

        Args:
            depth: (B, S, S) canonical depth, about 0.9 … 1.1.
            view: (B, 6) = (rx, ry, rz [rad], tx, ty, tz).

        Returns:
            Depth (B, S, S), 0 off the mask, and mask (B, S, S), bool.

        Raises:
            ValueError: on other shapes.
        """
        check_render_input(self.image_size, depth, view, None)
        points, triangle = self._visible(depth, view)
        return interpolate(points, triangle, None)[:, 0], triangle >= 0

    def render(self, texture: Tensor, depth: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Texture seen from a view.

        Args:
            texture: (B, C, S, S), any number of channels, on the canonical depth map.
            depth: (B, S, S) canonical depth, about 0.9 … 1.1.
            view: (B, 6) = (rx, ry, rz [rad], tx, ty, tz).

        Returns:
            Image (B, C, S, S), 0 off the mask, and mask (B, S, S), bool.

        Raises:
            ValueError: on other shapes.
        """
        check_render_input(self.image_size, depth, view, texture)
        points, triangle = self._visible(depth, view)
        return interpolate(points, triangle, texture), triangle >= 0

    forward = render

    def _visible(self, depth: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        valid = depth.isfinite() & (depth > 0)
        depth = torch.where(valid, depth, 1)
        known = view.isfinite().all(1)
        view = torch.where(known[:, None], view, 0)
        moved = transform(back_project(depth, self.fov_deg), view, self.rotation_center)
        valid = valid & known[:, None, None] & (moved[:, 2] > NEAR)
        moved = torch.where(valid[:, None], moved, 1)
        points = torch.cat(
            (project(moved, self.image_size, self.fov_deg), moved[:, 2:].reciprocal()), 1
        )
        return points, rasterize(points.detach(), valid & points.isfinite().all(1))
