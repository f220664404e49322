"""Differentiable renderer of depth-grid meshes in plain tensor operations."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lh2face.registry import MODELS
from lh2face.rendering.camera import back_project, project, transform
from lh2face.rendering.rasterize import rasterize

Draw = Callable[..., tuple[Tensor, Tensor]]

# Vertices that are nearer to the camera plane than NEAR or further away than FAR are not drawn.
NEAR, FAR = 0.01, 1e4


def check_render_input(
    image_size: int, depth: Tensor, view: Tensor, texture: Tensor | None
) -> None:
    """Raise ``ValueError`` unless the shapes are (B, S, S), (B, 6) and (B, C, S, S)."""
    grid = (image_size, image_size)
    if depth.ndim != 3 or depth.shape[1:] != grid:
        raise ValueError(
            f"depth: expected (B, {image_size}, {image_size}), as the renderer's image_size is "
            f"{image_size}, found {tuple(depth.shape)}"
        )
    if view.shape != (len(depth), 6):
        raise ValueError(
            f"view: expected ({len(depth)}, 6), a row (rx, ry, rz, tx, ty, tz) per depth map, "
            f"found {tuple(view.shape)}"
        )
    if texture is not None and (
        texture.ndim != 4 or texture.shape[0] != len(depth) or texture.shape[2:] != grid
    ):
        raise ValueError(
            f"texture: expected ({len(depth)}, C, {image_size}, {image_size}), the size of the "
            f"depth map, found {tuple(texture.shape)}"
        )


def screen_points(
    depth: Tensor, view: Tensor, fov_deg: float, rotation_center: float
) -> tuple[Tensor, Tensor]:
    """Compute where the grid vertices of a depth map are in the image of a view.

    Args:
        depth: (B, S, S) canonical depth.
        view: (B, 6) = (rx, ry, rz [rad], tx, ty, tz).
        fov_deg: Field of view of the camera in degrees, in (0, 180).
        rotation_center: Depth of the point about which views rotate.

    Returns:
        (B, 3, S, S) = (u, v, 1/z) with u and v in px, always finite; and (B, S, S) bool, false
        where there is no vertex, because the depth is not in (0, FAR), the moved vertex is too near
        or too far, or the view is not finite.
    """
    depth, view = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (depth, view))
    # Comparisons with NaN are false. Invalid values are replaced before they are used, because
    # their gradients would be NaN.
    valid = (depth > 0) & (depth < FAR)
    known = (view.abs() < FAR).all(1)
    depth = torch.where(valid, depth, 1)
    view = torch.where(known[:, None], view, 0)
    moved = transform(back_project(depth, fov_deg), view, rotation_center)
    seen = (moved[:, 2] > NEAR) & (moved.abs() < FAR).all(1)
    valid = valid & known[:, None, None] & seen
    moved = torch.where(valid[:, None], moved, 1)
    u, v = project(moved, depth.shape[-1], fov_deg).unbind(1)
    # torch.compile would store a concatenation of (B, 2, …) and (B, 1, …) with channels last.
    return torch.stack((u, v, moved[:, 2].reciprocal()), 1), valid


def interpolate(points: Tensor, triangle: Tensor, attributes: Tensor | None) -> Tensor:
    """Interpolate attributes at every pixel, over the triangle that covers it.

    The interpolation is perspective-correct, and differentiable in ``points`` and ``attributes``.

    Args:
        points: (B, 3, S, S) = (u, v, 1/z) of the grid vertices.
        triangle: (B, S, S) triangle numbers of :func:`rasterize`, -1 for none.
        attributes: (B, C, S, S) at the vertices, or None for the depth z.

    Returns:
        (B, C, S, S) values, or (B, 1, S, S) depth; 0 where there is no triangle.
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


class GridMeshRenderer(nn.Module):
    """Base class of renderers, which draw a depth map as a textured mesh, seen from a view.

    A vertex is left out if its depth is NaN, not positive or above 10⁴, or if the view moves it to
    within 0.01 of the camera plane. Then the triangles at it are not drawn, and it gets no
    gradient. A view that is not finite gives an empty mask. Both sides of the surface are drawn, so
    a view beyond ±90° shows the inside. An empty mask gives zeros and zero gradients. Half
    precision is computed in float32.

    Args:
        image_size: Side S of depth maps, textures and rendered images in px, ≥ 2.
        fov_deg: Field of view of the camera in degrees, in (0, 180).
        rotation_center: Depth of the point about which views rotate.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self, image_size: int, fov_deg: float = 10.0, rotation_center: float = 1.0
    ) -> None:
        super().__init__()
        if image_size < 2:
            raise ValueError(
                f"image_size: expected at least 2, the size of a triangle, found {image_size}"
            )
        if not 0 < fov_deg < 180:
            raise ValueError(f"fov_deg: expected a number between 0 and 180, found {fov_deg}")
        self.image_size = image_size
        self.fov_deg = fov_deg
        self.rotation_center = rotation_center

    def extra_repr(self) -> str:
        return (
            f"image_size={self.image_size}, fov_deg={self.fov_deg}, "
            f"rotation_center={self.rotation_center}"
        )

    def draw(self, depth: Tensor, view: Tensor, texture: Tensor | None) -> tuple[Tensor, Tensor]:
        """Draw the texture, or the depth if it is None.

        Returns:
            Image (B, C, S, S), with C = 1 for the depth, and mask (B, S, S), bool.
        """
        raise NotImplementedError

    def warp_depth(self, depth: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Render the depth of a depth map in a view.

        Args:
            depth: (B, S, S) canonical depth, about 0.9 … 1.1.
            view: (B, 6) = (rx, ry, rz [rad], tx, ty, tz).

        Returns:
            Depth (B, S, S), 0 outside of the mask, and mask (B, S, S), bool.

        Raises:
            ValueError: If a shape differs.
        """
        check_render_input(self.image_size, depth, view, None)
        warped, mask = self.draw(depth, view, None)
        return warped[:, 0], mask

    def render(self, texture: Tensor, depth: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Render a textured depth map in a view.

        Args:
            texture: (B, C, S, S), any number of channels, on the canonical depth map.
            depth: (B, S, S) canonical depth, about 0.9 … 1.1.
            view: (B, 6) = (rx, ry, rz [rad], tx, ty, tz).

        Returns:
            Image (B, C, S, S), 0 outside of the mask, and mask (B, S, S), bool.

        Raises:
            ValueError: If a shape differs.
        """
        check_render_input(self.image_size, depth, view, texture)
        return self.draw(depth, view, texture)

    forward = render


def draw_mesh(
    depth: Tensor, view: Tensor, texture: Tensor | None, fov_deg: float, rotation_center: float
) -> tuple[Tensor, Tensor]:
    """Project, rasterize and interpolate; return the image (B, C, S, S) and its mask (B, S, S)."""
    points, valid = screen_points(depth, view, fov_deg, rotation_center)
    triangle = rasterize(points.detach(), valid)
    return interpolate(points, triangle, texture), triangle >= 0


@cache
def _compiled(function: Draw) -> Draw:
    """Compile a function by ``torch.compile``; without a compiler, warn and run it uncompiled."""
    run = torch.compile(function)

    def call(*args: Any) -> tuple[Tensor, Tensor]:
        nonlocal run
        try:
            return run(*args)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            warnings.warn(
                f"no working compiler for torch.compile, rendering without it: {error}",
                stacklevel=2,
            )
            run = function
            return run(*args)

    return call


@MODELS.register_module()
class DepthMeshRenderer(GridMeshRenderer):
    """Renderer in plain tensor operations, for CPU and CUDA, float32 and float64.

    A z-buffer decides exactly which triangle covers a pixel. Depth, view and texture get gradients
    through perspective-correct barycentric coordinates. Coverage has no gradient, as in PyTorch3D
    with one face per pixel and no blur. Memory is linear in the number of pixels. A model that
    contains the renderer can be compiled by ``torch.compile`` without a graph break.

    Args:
        image_size: Side S of depth maps, textures and rendered images in px, ≥ 2.
        fov_deg: Field of view of the camera in degrees, in (0, 180).
        rotation_center: Depth of the point about which views rotate.
        compiled: Whether to use ``torch.compile``. The first call then takes half a minute, and
            later ones are two to three times faster. Without a compiler it warns and runs eagerly.
    """

    def __init__(
        self,
        image_size: int,
        fov_deg: float = 10.0,
        rotation_center: float = 1.0,
        compiled: bool = False,
    ) -> None:
        super().__init__(image_size, fov_deg, rotation_center)
        self.compiled = compiled

    def draw(self, depth: Tensor, view: Tensor, texture: Tensor | None) -> tuple[Tensor, Tensor]:
        run = _compiled(draw_mesh) if self.compiled else draw_mesh
        return run(depth, view, texture, self.fov_deg, self.rotation_center)
