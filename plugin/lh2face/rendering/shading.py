"""Normals of a depth map and Lambert shading, after Unsup3D (Wu et al., CVPR 2020, section 3.2)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lh2face.rendering.camera import back_project


def normals_from_depth(depth: Tensor, fov_deg: float = 10.0) -> Tensor:
    """Compute the unit normals of the surface of a depth map, in camera axes (z forward).

    A normal is the cross product of the central differences of the back-projected points along x
    and along y; differences are one-sided at the border. As in Unsup3D, normals point into the
    object: a fronto-parallel plane has (0, 0, 1).

    Args:
        depth: (B, S, S) depth map.
        fov_deg: Field of view of the camera in degrees, in (0, 180).

    Returns:
        (B, 3, S, S) normals.
    """
    points = back_project(depth, fov_deg)
    along_x = F.pad(points, (1, 1, 0, 0), mode="replicate").diff(dim=-1)
    along_y = F.pad(points, (0, 0, 1, 1), mode="replicate").diff(dim=-2)
    along_x = along_x[..., 1:] + along_x[..., :-1]
    along_y = along_y[..., 1:, :] + along_y[..., :-1, :]
    (ax, ay, az), (bx, by, bz) = along_x.unbind(1), along_y.unbind(1)
    # PyTorch's own cross product and norm are several times slower along this axis.
    normals = torch.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), 1)
    return normals / normals.square().sum(1, keepdim=True).clamp_min(1e-24).sqrt()


def lambert_shading(normals: Tensor, light: Tensor) -> Tensor:
    """Compute the shading ``ambient + diffuse · max(0, n·l)``.

    Args:
        normals: (B, 3, S, S) unit normals.
        light: (B, 4) = (ambient ≥ 0, diffuse ≥ 0, lx, ly); the light travels along
            ``(lx, ly, 1) / |(lx, ly, 1)|``.

    Returns:
        (B, 1, S, S) shading.
    """
    ambient, diffuse, lx, ly = light[..., None, None].unbind(1)
    direction = F.normalize(torch.stack((lx, ly, torch.ones_like(lx)), 1), dim=1)
    cosine = (normals * direction).sum(1).clamp(min=0)
    return (ambient + diffuse * cosine)[:, None]


def shade(albedo: Tensor, shading: Tensor) -> Tensor:
    """Apply a shading to an albedo.

    The reflectance is ``(albedo + 1) / 2``. The image is in [−1, 1] where the shading is at most 1.
    It is not clipped above, so that over-exposed pixels keep their gradients.

    Args:
        albedo: (B, C, S, S) in [−1, 1].
        shading: (B, 1, S, S) ≥ 0.

    Returns:
        (B, C, S, S) image.
    """
    return (albedo + 1) * shading - 1
