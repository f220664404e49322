"""Differentiable rendering of depth maps as meshes: camera, shading, renderers."""

from .camera import back_project, focal_length, intrinsics, project, rotation_matrix, transform
from .depth_mesh import DepthMeshRenderer, GridMeshRenderer
from .pytorch3d import PyTorch3DRenderer
from .shading import lambert_shading, normals_from_depth, shade

__all__ = [
    "DepthMeshRenderer",
    "GridMeshRenderer",
    "PyTorch3DRenderer",
    "back_project",
    "focal_length",
    "intrinsics",
    "lambert_shading",
    "normals_from_depth",
    "project",
    "rotation_matrix",
    "shade",
    "transform",
]
