"""Differentiable rendering of depth maps as meshes: camera, shading, renderers."""

from lh2face.rendering.camera import (
    back_project,
    focal_length,
    intrinsics,
    project,
    rotation_matrix,
    transform,
)
from lh2face.rendering.depth_mesh import DepthMeshRenderer, GridMeshRenderer
from lh2face.rendering.pytorch3d import PyTorch3DRenderer
from lh2face.rendering.shading import lambert_shading, normals_from_depth, shade

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
