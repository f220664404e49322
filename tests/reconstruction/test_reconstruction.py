import pytest
import torch

from lh2face.reconstruction import Unsup3DReconstructor
from lh2face.reconstruction.losses import confidence_l1
from lh2face.reconstruction.metrics import mean_angle_deviation, scale_invariant_depth_error


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Unsup3DReconstructor(image_size=16, width=4)


def test_shapes_and_ranges(model):
    face = model(torch.rand(2, 3, 16, 16) * 2 - 1)
    assert face.depth.shape == (2, 16, 16) and face.view.shape == (2, 6)
    assert face.depth.min() >= 0.9 and face.depth.max() <= 1.1
    assert face.canonical.shape == face.image.shape == face.albedo.shape == (2, 3, 16, 16)
    assert face.light[:, :2].min() >= 0


def test_losses_reach_every_network(model):
    sum(model.loss(torch.rand(2, 3, 16, 16) * 2 - 1).values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    for network in (model.depth_network, model.view_network, model.light_network):
        assert any(p.grad.abs().sum() > 0 for p in network.parameters())


def test_training_lowers_the_loss(model):
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss = sum(model.loss(images).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


def test_wrong_size_is_named(model):
    with pytest.raises(ValueError, match="images: expected"):
        model(torch.zeros(1, 3, 20, 20))
    with pytest.raises(ValueError, match="image_size: expected a power of two"):
        Unsup3DReconstructor(image_size=20)


def test_empty_mask_gives_no_nan():
    image = torch.rand(1, 3, 4, 4, requires_grad=True)
    empty = torch.zeros(1, 4, 4, dtype=torch.bool)
    loss = confidence_l1(image, torch.zeros(1, 3, 4, 4), empty, torch.ones(1, 1, 4, 4))
    loss.backward()
    assert loss == 0 and (image.grad == 0).all()


def test_depth_errors_of_known_surfaces():
    truth = 1 + 0.05 * torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    assert scale_invariant_depth_error(1.3 * truth, truth, mask).item() == pytest.approx(
        0, abs=1e-4
    )
    assert mean_angle_deviation(truth, truth, mask).item() == pytest.approx(0, abs=0.1)
    noise = torch.tensor([0.01, -0.01]).repeat(4)
    spoiled = truth * noise.exp()
    assert scale_invariant_depth_error(spoiled, truth, mask).item() == pytest.approx(0.01, rel=1e-3)
