"""The renderer agrees with PyTorch3D's renders of the same depth maps."""

import numpy as np
import pytest
import torch

from lh2face.rendering import DepthMeshRenderer


@pytest.fixture(scope="module")
def reference(shared_data):
    with np.load(shared_data / "pytorch3d_reference.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def inputs(reference):
    """Depth and texture repeated for every view, flattened to one batch."""
    depth, view, texture = (reference[name] for name in ("depth", "view", "texture"))
    zbuf = reference["zbuf"]
    size = depth.shape[-1]
    zbuf = zbuf.reshape(-1, size, size)
    count = len(zbuf) // len(depth)
    view = view.reshape(-1, 6) if view.ndim == 3 else view.repeat(len(depth), 1)
    if texture.shape[-1] == 3:
        texture = texture.movedim(-1, -3)
    texture = texture.expand(len(depth), *texture.shape[-3:])
    return (
        depth.repeat_interleave(count, 0),
        view,
        texture.repeat_interleave(count, 0),
        zbuf,
    )


def test_depth_and_colour_equal_pytorch3ds(reference):
    depth, view, texture, zbuf = inputs(reference)
    found, mask = DepthMeshRenderer(depth.shape[-1]).warp_depth(depth, view)
    covered = zbuf >= 0
    assert (mask != covered).float().mean() <= 0.005
    # Compared are pixels away from depth edges, where the reference is smooth over 3 × 3 pixels.
    filled = torch.where(covered, zbuf, 9.0)[:, None]
    high = torch.nn.functional.max_pool2d(filled, 3, 1, 1)[:, 0]
    low = -torch.nn.functional.max_pool2d(-filled, 3, 1, 1)[:, 0]
    smooth = covered & mask & (high - low < 0.02)
    assert smooth.float().mean() > 0.2
    assert (found - zbuf)[smooth].abs().max() <= 1e-5
    image, _ = DepthMeshRenderer(depth.shape[-1]).render(texture, depth, view)
    difference = (image - reference["rgb"].reshape(image.shape)).abs().amax(1)
    assert difference[smooth].max() <= 1e-4


def test_the_gradient_equals_pytorch3ds(reference):
    depth, view, _, zbuf = inputs(reference)
    weight = reference["grad_weight"].expand(zbuf.shape)
    leaf = depth.clone().requires_grad_()
    found, mask = DepthMeshRenderer(depth.shape[-1]).warp_depth(leaf, view)
    (found * weight * mask).sum().backward()
    expected = reference["grad_depth"].reshape(leaf.shape)
    cosine = torch.nn.functional.cosine_similarity(leaf.grad.flatten(), expected.flatten(), dim=0)
    assert cosine >= 0.999
