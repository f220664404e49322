"""Normals of a depth map and Lambert shading, after Unsup3D (Wu et al., CVPR 2020, section 3.2)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .camera import back_project


def normals_from_depth(depth: Tensor, fov_deg: float = 10.0) -> Tensor:
    """Unit normals (B, 3, S, S) of the surface behind a depth map (B, S, S), z forward.

    The cross product of the central differences of the back-projected points along x and along y,
    one-sided at the border. As in Unsup3D they point into the object (a fronto-parallel plane has
    (0, 0, 1)), and the light of :func:`lambert_shading` is the direction in which light travels.
    """
    points = back_project(depth, fov_deg)
    along_x = F.pad(points, (1, 1, 0, 0), mode="replicate").diff(dim=-1)
    along_y = F.pad(points, (0, 0, 1, 1), mode="replicate").diff(dim=-2)
    along_x = along_x[..., 1:] + along_x[..., :-1]
    along_y = along_y[..., 1:, :] + along_y[..., :-1, :]
    (ax, ay, az), (bx, by, bz) = along_x.unbind(1), along_y.unbind(1)
    # Written out: PyTorch's own cross product and norm are several times slower along this axis.
    normals = torch.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), 1)
    return normals / normals.square().sum(1, keepdim=True).clamp_min(1e-24).sqrt()


def lambert_shading(normals: Tensor, light: Tensor) -> Tensor:
    """Shading (B, 1, S, S) = ``ambient + diffuse · max(0, n·l)``.

    Args:
        normals: (B, 3, S, S) unit normals.
        light: (B, 4) = (ambient ≥ 0, diffuse ≥ 0, lx, ly); the light travels along
            ``(lx, ly, 1) / |(lx, ly, 1)|``.
    """
    ambient, diffuse, lx, ly = light[..., None, None].unbind(1)
    direction = F.normalize(torch.stack((lx, ly, torch.ones_like(lx)), 1), dim=1)
    cosine = (normals * direction).sum(1).clamp(min=0)
    return (ambient + diffuse * cosine)[:, None]


def shade(albedo: Tensor, shading: Tensor) -> Tensor:
    """Image (B, C, S, S) of an albedo in [-1, 1] under a shading (B, 1, S, S).

    Reflectance is ``(albedo + 1) / 2``; the image is back in [-1, 1] where shading ≤ 1 (not
    clipped above, so gradients of over-exposed pixels stay).
    """
    return (albedo + 1) * shading - 1
