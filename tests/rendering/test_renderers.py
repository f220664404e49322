"""Every installed renderer agrees with a ray tracer written in loops."""

import importlib.util
import math

import pytest
import torch
from torch.autograd import gradcheck

from lh2face.registry import MODELS
from lh2face.rendering import DepthMeshRenderer, PyTorch3DRenderer
from lh2face.rendering.depth_mesh import screen_points

SIZE = 9
HAS_PYTORCH3D = importlib.util.find_spec("pytorch3d") is not None
BACKENDS = [
    pytest.param({"type": "DepthMeshRenderer"}, id="eager"),
    pytest.param(
        {"type": "PyTorch3DRenderer"},
        id="pytorch3d",
        marks=pytest.mark.skipif(not HAS_PYTORCH3D, reason="pytorch3d is not installed"),
    ),
]


# Each shape and each set of gradients is compiled anew, so few tests have this one.
COMPILED = pytest.param({"type": "DepthMeshRenderer", "compiled": True}, id="compiled")


@pytest.fixture(params=BACKENDS)
def renderer(request):
    return MODELS.build({**request.param, "image_size": SIZE})


def random_scene(batch=6, size=SIZE, relief=0.03, seed=0, turn=1.0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(shape, generator=generator) * 2 - 1

    depth = 1 + relief * draw(batch, size, size)
    view = draw(batch, 6) * torch.tensor([0.4, turn, 0.3, 0.01, 0.01, 0.02])
    return depth, view, draw(batch, 3, size, size)


def traced(depth, view, texture):
    """Trace rays one by one: depth, texture, number of layers and distance to the nearest edge.

    A ray meets the plane of a triangle; the three signed areas seen from the camera say whether it
    does so inside. All in float64, with nothing shared with the rasteriser but the vertices.
    """
    size = depth.shape[-1]
    points, valid = screen_points(depth.double(), view.double(), 10.0, 1.0)
    focal = (size - 1) / 2 / math.tan(math.radians(5))
    middle = (size - 1) / 2
    z = 1 / points[:, 2]
    space = torch.stack(
        ((points[:, 0] - middle) * z / focal, (points[:, 1] - middle) * z / focal, z)
    )
    batch = len(depth)
    found = torch.zeros(batch, size, size, dtype=torch.float64)
    color = torch.zeros(batch, texture.shape[1], size, size, dtype=torch.float64)
    layers = torch.zeros(batch, size, size, dtype=torch.int64)
    clearance = torch.full((batch, size, size), torch.inf, dtype=torch.float64)
    cells = [(y, x) for y in range(size - 1) for x in range(size - 1)]
    halves = [((0, 0), (1, 0), (0, 1)), ((0, 1), (1, 0), (1, 1))]
    for b in range(batch):
        for v in range(size):
            for u in range(size):
                ray = torch.tensor([(u - middle) / focal, (v - middle) / focal, 1.0]).double()
                for y, x in cells:
                    for half in halves:
                        where = [(y + dy, x + dx) for dy, dx in half]
                        if not all(valid[b, i, j] for i, j in where):
                            continue
                        corners = torch.stack([space[:, b, i, j] for i, j in where], dim=1)
                        volume = torch.linalg.det(corners)
                        if volume.abs() < 1e-15:
                            continue
                        weights = torch.linalg.solve(corners, ray)
                        # ray · z = Σ b_i corner_i with Σ b_i = 1, so z = 1 / Σ weights.
                        share = weights / weights.sum()
                        if share.min() > -0.1:
                            edge = share.abs().min()
                            clearance[b, v, u] = torch.minimum(clearance[b, v, u], edge)
                        if share.min() < 0 or weights.sum() <= 0:
                            continue
                        layers[b, v, u] += 1
                        distance = 1 / weights.sum()
                        if found[b, v, u] == 0 or distance < found[b, v, u]:
                            found[b, v, u] = distance
                            table = torch.stack([texture[b, :, i, j] for i, j in where], dim=1)
                            color[b, :, v, u] = table.double() @ share
    return found, color, layers, clearance


@pytest.fixture(scope="module")
def scene():
    depth, view, texture = random_scene(batch=3, relief=0.06)
    return depth, view, texture, *traced(depth, view, texture)


@pytest.mark.parametrize("renderer", [*BACKENDS, COMPILED], indirect=True)
def test_equals_a_ray_tracer(renderer, scene):
    depth, view, texture, expected, color, layers, clearance = scene
    mask, clear = layers > 0, clearance > 1e-2
    assert (clear & (layers > 1)).sum() > 10  # here the near side must hide the far one
    assert clear.float().mean() > 0.5 and (clear & mask).float().mean() > 0.2
    found, covered = renderer.warp_depth(depth, view)
    assert (covered == mask)[clear].all()
    torch.testing.assert_close(found[clear].double(), expected[clear], atol=2e-5, rtol=0)
    image, _ = renderer.render(texture, depth, view)
    on = clear[:, None].expand_as(color)
    torch.testing.assert_close(image[on].double(), color[on], atol=2e-4, rtol=0)


def test_the_identity_view_returns_every_pixel(renderer):
    depth, _, texture = random_scene()
    if isinstance(renderer, PyTorch3DRenderer):
        pytest.skip("PyTorch3D loses pixels that fall on a vertex")
    found, mask = renderer.warp_depth(depth, torch.zeros(len(depth), 6))
    assert mask.all()
    torch.testing.assert_close(found, depth, atol=1e-6, rtol=0)
    image, _ = renderer.render(texture, depth, torch.zeros(len(depth), 6))
    torch.testing.assert_close(image, texture, atol=1e-4, rtol=0)


def test_a_turn_and_its_inverse_give_the_middle_again(renderer):
    size = 41
    wide = MODELS.build({"type": type(renderer).__name__, "image_size": size})
    axis = torch.linspace(-1, 1, size)
    depth = (1.05 - 0.05 * (-2 * (axis**2 + axis[:, None] ** 2)).exp())[None]
    view = torch.tensor([[0, 0.3, 0, 0, 0, 0.0]])
    turned, mask = wide.warp_depth(depth, view)
    again, seen = wide.warp_depth(torch.where(mask, turned, torch.nan), -view)
    middle = torch.zeros(1, size, size, dtype=torch.bool)
    middle[:, 12:29, 12:29] = True
    assert seen[middle].float().mean() > 0.98
    assert (again - depth)[middle & seen].abs().max() < 2e-3


@pytest.mark.parametrize("turn", [0.2, 0.9])
def test_gradients_pass_gradcheck(turn):
    depth, view, texture = (t.double() for t in random_scene(2, 6, 0.02, seed=1, turn=turn))
    drawer = DepthMeshRenderer(6)
    _, mask = drawer.warp_depth(depth, view)
    assert mask.float().mean() > 0.2
    inputs = [t.requires_grad_() for t in (texture, depth, view)]
    # Coverage has no gradient, so steps are too small for a pixel to change its triangle.
    assert gradcheck(lambda *t: drawer.render(*t)[0], inputs, eps=1e-7, atol=1e-3, rtol=1e-3)
    assert gradcheck(lambda d, v: drawer.warp_depth(d, v)[0], inputs[1:], eps=1e-7, atol=1e-3)


@pytest.mark.parametrize("yaw", [89, 90, 91, 120, 180, 720])
def test_views_that_turn_the_face_away_give_finite_results(renderer, yaw):
    depth, view, texture = random_scene()
    depth.requires_grad_()
    view[:, 1] = math.radians(yaw)
    view.requires_grad_()
    image, mask = renderer.render(texture, depth, view)
    image.sum().backward()
    assert image.isfinite().all() and depth.grad.isfinite().all() and view.grad.isfinite().all()
    assert (image[~mask[:, None].expand_as(image)] == 0).all()


@pytest.mark.parametrize("renderer", [*BACKENDS, COMPILED], indirect=True)
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0, 1e6])
def test_an_invalid_depth_is_a_hole(renderer, value):
    depth, view, _ = random_scene()
    depth[:, 4, 4] = value
    depth.requires_grad_()
    view = (view * 0.1).requires_grad_()
    warped, mask = renderer.warp_depth(depth, view)
    warped.sum().backward()
    assert warped.isfinite().all() and view.grad.isfinite().all()
    assert depth.grad.isfinite().all() and (depth.grad[:, 4, 4] == 0).all()
    assert not mask[:, 4, 4].any() and mask.float().mean() > 0.5


@pytest.mark.parametrize("depth", [math.nan, 1e6])
def test_an_empty_mask_gives_zeros_and_zero_gradients(renderer, depth):
    depth = torch.full((2, SIZE, SIZE), depth, requires_grad=True)
    texture = torch.rand(2, 3, SIZE, SIZE, requires_grad=True)
    view = torch.zeros(2, 6, requires_grad=True)
    image, mask = renderer.render(texture, depth, view)
    (image.sum() * 3).backward()
    assert not mask.any() and (image == 0).all()
    for leaf in (depth, texture, view):
        assert leaf.grad is None or (leaf.grad == 0).all()


def test_a_view_that_is_not_finite_covers_nothing(renderer):
    depth, texture = torch.ones(2, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE)
    view = torch.zeros(2, 6)
    view[0, 1], view[1, 0] = 0.5, math.nan
    image, mask = renderer.render(texture, depth, view)
    assert image.isfinite().all() and mask[0].any() and not mask[1].any()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 3, 9, 9), (1, 8, 9), (1, 6)], r"depth: expected \(B, 9, 9\).*found \(1, 8, 9\)"),
        ([(1, 3, 9, 9), (1, 9, 9), (1, 5)], r"view: expected \(1, 6\).*found \(1, 5\)"),
        ([(1, 3, 8, 9), (1, 9, 9), (1, 6)], r"texture: expected \(1, C, 9, 9\).*\(1, 3, 8, 9\)"),
        ([(2, 3, 9, 9), (1, 9, 9), (1, 6)], r"texture: expected \(1, C, 9, 9\)"),
    ],
)
def test_shapes_are_checked(renderer, shapes, message):
    with pytest.raises(ValueError, match=message):
        renderer.render(*(torch.ones(shape) for shape in shapes))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="image_size: expected at least 2"):
        DepthMeshRenderer(1)
    with pytest.raises(ValueError, match="fov_deg: expected a number between"):
        DepthMeshRenderer(8, fov_deg=180)


@pytest.mark.skipif(HAS_PYTORCH3D, reason="pytorch3d is installed")
def test_without_pytorch3d_the_error_says_how_to_install_it():
    with pytest.raises(ImportError, match=r"pip install .*pytorch3d"):
        MODELS.build({"type": "PyTorch3DRenderer", "image_size": 8})


def test_without_a_compiler_it_warns_and_runs(monkeypatch):
    from lh2face.rendering import depth_mesh

    def broken(function, **_):
        def call(*args):
            raise torch._dynamo.exc.BackendCompilerFailed(function, RuntimeError("no gcc"), None)

        return call

    monkeypatch.setattr(torch, "compile", broken)
    depth_mesh._compiled.cache_clear()
    depth, view, texture = random_scene()
    with pytest.warns(UserWarning, match="no working compiler"):
        image, _ = DepthMeshRenderer(SIZE, compiled=True).render(texture, depth, view)
    torch.testing.assert_close(image, DepthMeshRenderer(SIZE).render(texture, depth, view)[0])
    depth_mesh._compiled.cache_clear()


def test_memory_is_linear_in_pixels():
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Largest(TorchDispatchMode):
        """Records the size of the largest tensor that any operation makes."""

        bytes = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes = [t.numel() * t.element_size() for t in tree_leaves(out) if torch.is_tensor(t)]
            self.bytes = max([self.bytes, *sizes])
            return out

    def largest(size):
        depth, view, texture = random_scene(2, size, 0.01)
        with Largest() as found:
            DepthMeshRenderer(size).render(texture, depth, view)
        return found.bytes

    assert largest(64) < 4.6 * largest(32)
