"""A renderer with PyTorch3D's rasteriser and the interface of the project's own renderer."""

import importlib.util

import torch
from torch import Tensor

from lh2face.registry import MODELS
from lh2face.rendering.depth_mesh import GridMeshRenderer, screen_points


@MODELS.register_module()
class PyTorch3DRenderer(GridMeshRenderer):
    """Renderer based on PyTorch3D's ``rasterize_meshes``: one face per pixel, no blur, both sides.

    Camera and results are those of :class:`DepthMeshRenderer`, but pixels exactly on an edge may
    stay empty, and it computes in float32 only. Its purpose is comparison.

    Args:
        image_size: Side S of depth maps, textures and rendered images in px, ≥ 2.
        fov_deg: Field of view of the camera in degrees, in (0, 180).
        rotation_center: Depth of the point about which views rotate.

    Raises:
        ImportError: If pytorch3d is not installed.
    """

    faces: Tensor

    def __init__(
        self, image_size: int, fov_deg: float = 10.0, rotation_center: float = 1.0
    ) -> None:
        super().__init__(image_size, fov_deg, rotation_center)
        if importlib.util.find_spec("pytorch3d") is None:
            raise ImportError(
                "PyTorch3DRenderer needs pytorch3d, which is not installed. The package index has "
                "no build for current Python versions: build it with `pip install "
                "--no-build-isolation git+https://github.com/facebookresearch/pytorch3d@v0.7.9`, "
                "or use type='DepthMeshRenderer', which gives the same results without it."
            )
        vertex = torch.arange(image_size * image_size).view(image_size, image_size)
        tl, tr, bl, br = vertex[:-1, :-1], vertex[:-1, 1:], vertex[1:, :-1], vertex[1:, 1:]
        faces = torch.stack((torch.stack((tl, bl, tr), -1), torch.stack((tr, bl, br), -1)))
        self.register_buffer("faces", faces.view(-1, 3), persistent=False)

    def draw(self, depth: Tensor, view: Tensor, texture: Tensor | None) -> tuple[Tensor, Tensor]:
        from pytorch3d.ops import interpolate_face_attributes
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes

        size = self.image_size
        points, valid = screen_points(depth, view, self.fov_deg, self.rotation_center)
        u, v, inverse_z = points.float().flatten(2).unbind(1)
        # Normalised device coordinates: +x left, +y up, pixel centres at odd multiples of 1/S.
        vertices = torch.stack(
            (1 - (2 * u + 1) / size, 1 - (2 * v + 1) / size, inverse_z.reciprocal()), -1
        )
        whole = valid.flatten(1)[:, self.faces].all(-1)
        meshes = Meshes(list(vertices), [self.faces[keep] for keep in whole])
        face, zbuf, barycentric, _ = rasterize_meshes(
            meshes, size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=True
        )
        mask = face[..., 0] >= 0
        if texture is None:
            return torch.where(mask, zbuf[..., 0], 0)[:, None], mask
        table = texture.to(vertices.dtype).flatten(2).mT.flatten(0, 1)
        value = interpolate_face_attributes(face, barycentric, table[meshes.faces_packed()])
        return value[..., 0, :].movedim(-1, 1), mask
