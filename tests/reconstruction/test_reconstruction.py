import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from lh2face.data.align import TEMPLATE
from lh2face.data.synthetic.canonical import canonical_faces
from lh2face.reconstruction import Linear3DMMReconstructor, Unsup3DReconstructor
from lh2face.reconstruction.base import ROTATION_CENTER, VIEW_RANGE
from lh2face.reconstruction.linear_3dmm import principal_components
from lh2face.reconstruction.losses import confidence_l1
from lh2face.reconstruction.metrics import mean_angle_deviation, scale_invariant_depth_error
from lh2face.reconstruction.networks import FewMaps, FromVector, ToVector
from lh2face.registry import MODELS
from lh2face.rendering import normals_from_depth, transform

CONFIGS = [
    {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4},
    {"type": "Linear3DMMReconstructor", "image_size": 16, "width": 4, "shape_modes": 8,
     "albedo_modes": 8, "faces": 40},
]  # fmt: skip


@pytest.fixture(params=CONFIGS, ids=lambda config: config["type"])
def model(request):
    torch.manual_seed(0)
    return MODELS.build(request.param)


def test_shapes_and_ranges(model):
    face = model(torch.rand(2, 3, 16, 16) * 2 - 1)
    assert face.depth.shape == (2, 16, 16) and face.view.shape == (2, 6)
    assert face.depth.min() >= 0.9 and face.depth.max() <= 1.1
    image, mask = model.rendered(face)
    assert face.canonical.shape == image.shape == face.albedo.shape == (2, 3, 16, 16)
    assert mask.shape == (2, 16, 16) and mask.dtype == torch.bool
    assert face.canonical.abs().max() <= 1
    assert face.light[:, :2].min() >= 0


def test_losses_reach_every_network(model):
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    sum(model.loss(images, model(images)).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    for name, network in model.named_children():
        parameters = list(network.parameters())
        assert not parameters or any(p.grad.abs().sum() > 0 for p in parameters), name


def test_training_lowers_the_loss(model):
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss = sum(model.loss(images, model(images)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize(
    ("layer", "plain", "shape"),
    [
        (ToVector(6, 5, 4), nn.Conv2d(6, 5, 4), (2, 6, 4, 4)),
        (FromVector(6, 5, 4), nn.ConvTranspose2d(6, 5, 4), (2, 6, 1, 1)),
        (FewMaps(6, 2, 5), nn.Conv2d(6, 2, 5, padding=2), (2, 6, 9, 9)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fast_layers_equal_pytorchs(layer, plain, shape):
    plain.load_state_dict(layer.state_dict())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    found = []
    for module in (layer.double(), plain.double()):
        inputs = x.clone().requires_grad_()
        y = module(inputs.flatten(1) if isinstance(module, FromVector) else inputs)
        y = y.view(len(y), -1)
        y.sin().sum().backward()
        found.append((y, inputs.grad, *(p.grad for p in module.parameters())))
    torch.testing.assert_close(*found)


def test_weights_can_be_saved_and_loaded(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    model.load_state_dict(load_file(tmp_path / "weights.safetensors"))


def test_a_wrong_size_is_refused(model):
    with pytest.raises(ValueError, match="images: expected"):
        model(torch.zeros(1, 3, 20, 20))
    with pytest.raises(ValueError, match="image_size: expected a power of two"):
        Unsup3DReconstructor(image_size=20)


def test_an_empty_mask_gives_no_nan():
    image = torch.rand(1, 3, 4, 4, requires_grad=True)
    empty = torch.zeros(1, 4, 4, dtype=torch.bool)
    loss = confidence_l1(image, torch.zeros(1, 3, 4, 4), empty, torch.ones(1, 1, 4, 4))
    loss.backward()
    assert loss == 0 and (image.grad == 0).all()


def test_a_surface_without_extent_has_a_finite_gradient():
    depth = torch.zeros(1, 4, 4, requires_grad=True)
    normals_from_depth(depth).sum().backward()
    assert depth.grad.isfinite().all()


def test_depth_errors_have_known_values():
    truth = 1 + 0.05 * torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    assert scale_invariant_depth_error(1.3 * truth, truth, mask).item() == pytest.approx(
        0, abs=1e-4
    )
    assert mean_angle_deviation(truth, truth, mask).item() == pytest.approx(0, abs=0.1)
    noise = torch.tensor([0.01, -0.01]).repeat(4)
    spoiled = truth * noise.exp()
    assert scale_invariant_depth_error(spoiled, truth, mask).item() == pytest.approx(0.01, rel=1e-3)


def test_modes_equal_those_of_an_eigendecomposition():
    rows = torch.randn(30, 12, generator=torch.Generator().manual_seed(0)).double()
    mean, modes = principal_components(rows, 12)
    torch.testing.assert_close(modes.T @ modes, rows.T.cov())
    torch.testing.assert_close(mean, rows.mean(0))
    strongest = principal_components(rows, 1)[1][0]
    values, vectors = torch.linalg.eigh(rows.T.cov())
    assert (strongest @ vectors[:, -1]).abs().item() == pytest.approx(values[-1].sqrt().item())


def test_modes_describe_unseen_faces():
    depth, albedo, head = canonical_faces(120, 16)
    assert 0.3 < head.float().mean() < 0.9
    on = head.flatten()
    for maps in (depth[:, None], albedo):
        rows = maps[..., on.view(16, 16)].flatten(1)
        mean, modes = principal_components(rows[:90], 20)
        basis = torch.linalg.qr(modes.T)[0]
        apart = rows[90:] - mean
        left = apart - apart @ basis @ basis.T
        assert left.square().sum() < 0.15 * apart.square().sum()


def test_pixels_beside_the_head_are_not_rendered():
    torch.manual_seed(0)
    model = MODELS.build(CONFIGS[1])
    face = model(torch.rand(2, 3, 16, 16) * 2 - 1)
    front = torch.zeros(2, 6)
    _, mask = model.renderer.warp_depth(model.surface(face.depth), front)
    assert mask.any() and not mask[:, ~model.head].any()
    assert face.depth.isfinite().all()


def test_too_few_faces_for_the_modes_are_refused():
    with pytest.raises(ValueError, match="faces: expected more than"):
        Linear3DMMReconstructor(image_size=16, shape_modes=30, albedo_modes=8, faces=30)


def test_modes_are_not_computed_on_the_meta_device(monkeypatch):
    expected = {k: v.shape for k, v in MODELS.build(CONFIGS[1]).state_dict().items()}
    monkeypatch.delattr("lh2face.reconstruction.linear_3dmm.canonical_faces")
    with torch.device("meta"):
        model = MODELS.build(CONFIGS[1])
    assert {k: v.shape for k, v in model.state_dict().items()} == expected
    assert all(value.is_meta for value in model.state_dict().values())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config["type"])
def test_the_trainer_returns_the_reconstructors_terms(config):
    torch.manual_seed(0)
    trainer = MODELS.build({"type": "ReconstructorTrainer", "reconstructor": config}).eval()
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    face = trainer(images)
    torch.testing.assert_close(face.view, trainer.reconstructor.view_of(images))
    terms = trainer(images, torch.zeros(2, dtype=torch.long), mode="loss")
    assert terms.keys() >= {"loss_image", "loss_flipped", "loss_prior"}
    assert terms == trainer.reconstructor.loss(images, face)
    with pytest.raises(ValueError, match="mode: expected 'loss' or 'tensor', found 'predict'"):
        trainer(images, mode="predict")


@pytest.mark.parametrize(("center", "reachable"), [(ROTATION_CENTER, True), (1.0, False)])
def test_the_view_can_undo_the_shift_of_alignment(center, reachable):
    depth, _, _ = canonical_faces(20, 112)
    at = torch.from_numpy(TEMPLATE).round().long()
    z = depth[:, at[:, 1], at[:, 0]].mean(0)[None]
    rays = (torch.from_numpy(TEMPLATE) - 55.5) / (55.5 / math.tan(math.radians(5)))
    points = torch.stack([rays[None, :, 0] * z, rays[None, :, 1] * z, z], 1)
    view = torch.tensor([[0, math.radians(45), 0, 0, 0, 0]])
    moved = transform(points[..., None], view, center)[..., 0]
    # Alignment moves the landmarks' mean back; the view must undo this shift along x.
    shift = (moved[:, 0] - points[:, 0]).mean().abs().item()
    assert (shift < VIEW_RANGE[3]) == reachable


def test_larger_pictures_of_a_linear_model_show_the_same_face():
    torch.manual_seed(0)
    small = Linear3DMMReconstructor(
        image_size=16, width=8, shape_modes=4, albedo_modes=6, faces=12, picture_size=48
    )
    torch.nn.init.normal_(small.coefficient_network.network[-2].weight, std=0.1)
    large, images = small.enlarged(), torch.rand(2, 3, 16, 16) * 2 - 1
    face = small(images)
    picture = large(F.interpolate(images, scale_factor=3.0, mode="nearest"))
    assert picture.depth.shape == (2, 48, 48)
    assert large.turned(picture, picture.view).shape == (2, 3, 48, 48)
    # Compared are pixels that neither picture clips.
    for fine, coarse, low, high in (
        (picture.depth, face.depth, 0.9, 1.1),
        (picture.albedo, face.albedo, -1, 1),
    ):
        inside = (F.max_pool2d(fine, 3) < high) & (-F.max_pool2d(-fine, 3) > low)
        assert inside.float().mean() > 0.3
        torch.testing.assert_close(F.avg_pool2d(fine, 3)[inside], coarse[inside])
    torch.testing.assert_close(picture.view, face.view)
    torch.testing.assert_close(picture.light, face.light)
    assert (face.depth[0] - face.depth[1]).abs().max() > 1e-4, "faces differ"


def test_the_size_of_pictures_is_a_multiple_of_the_image_size():
    with pytest.raises(ValueError, match="picture_size: expected a multiple of 16, found 40"):
        Linear3DMMReconstructor(image_size=16, faces=50, picture_size=40)
