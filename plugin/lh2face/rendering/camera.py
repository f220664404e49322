"""The pinhole camera and the rigid view of a depth map.

Camera axes: x right, y down, z forward. Pixel centres lie at integers, so an image of size S spans
0 … S-1 and its principal point is (S-1)/2. A view is ``(rx, ry, rz [rad], tx, ty, tz)`` and moves a
point by ``p' = Rz·Ry·Rx (p - c) + c + t`` with ``c = (0, 0, rotation_center)``.
"""

import math

import torch
from torch import Tensor


def focal_length(image_size: int, fov_deg: float = 10.0) -> float:
    """Compute the focal length in px, ``(S − 1) / 2 / tan(fov / 2)``.

    With it, the field of view reaches from the first to the last pixel centre.

    Args:
        image_size: Side S of the image in px.
        fov_deg: Field of view in degrees, in (0, 180).
    """
    return (image_size - 1) / 2 / math.tan(math.radians(fov_deg) / 2)


def intrinsics(
    image_size: int,
    fov_deg: float = 10.0,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the camera matrix ``K`` (3, 3) of a square image, in px."""
    f, c = focal_length(image_size, fov_deg), (image_size - 1) / 2
    return torch.tensor([[f, 0, c], [0, f, c], [0, 0, 1]], dtype=dtype, device=device)


def back_project(depth: Tensor, fov_deg: float = 10.0) -> Tensor:
    """Convert a depth map (B, S, S) to points (B, 3, S, S) = (x, y, z) in camera axes."""
    size = depth.shape[-1]
    ray = torch.arange(size, dtype=depth.dtype, device=depth.device) - (size - 1) / 2
    ray = ray / focal_length(size, fov_deg)
    return torch.stack((depth * ray, depth * ray[:, None], depth), 1)


def rotation_matrix(angles: Tensor) -> Tensor:
    """Compute ``Rz·Ry·Rx`` (B, 3, 3) from angles (B, 3) = (rx, ry, rz) in rad."""
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def transform(points: Tensor, view: Tensor, rotation_center: float = 1.0) -> Tensor:
    """Move points (B, 3, …) by views (B, 6) about ``(0, 0, rotation_center)``."""
    rotation, shift = rotation_matrix(view[:, :3]), view[:, 3:]
    expand = (-1,) + (1,) * (points.ndim - 2)
    x, y, z = points.unbind(1)
    z = z - rotation_center
    # Written out instead of a matrix product, so that torch.compile fuses it and autocast does not
    # lower its precision.
    moved = [
        sum(rotation[:, i, j].view(expand) * axis for j, axis in enumerate((x, y, z)))
        + shift[:, i].view(expand)
        for i in range(3)
    ]
    return torch.stack((moved[0], moved[1], moved[2] + rotation_center), 1)


def project(points: Tensor, image_size: int, fov_deg: float = 10.0) -> Tensor:
    """Project points (B, 3, …) with z > 0 to pixel coordinates (B, 2, …) = (u right, v down)."""
    f, c = focal_length(image_size, fov_deg), (image_size - 1) / 2
    return points[:, :2] * (f / points[:, 2:]) + c
