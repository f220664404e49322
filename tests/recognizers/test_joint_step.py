"""The joint step shares its work between terms, and gives the results of separate passes."""

import pytest
import torch
from torch.nn import functional

from lh2face.functional.resize import resize
from lh2face.functional.view import mirror_view
from lh2face.reconstruction.losses import confidence_l1
from lh2face.registry import MODELS
from lh2face.rendering import GridMeshRenderer, lambert_shading, normals_from_depth, shade

SIZE, SMALL = 32, 16
RECONSTRUCTORS = [
    {"type": "Unsup3DReconstructor", "image_size": SMALL, "width": 4},
    {"type": "Linear3DMMReconstructor", "image_size": SMALL, "width": 4, "shape_modes": 8,
     "albedo_modes": 8, "faces": 40},
]  # fmt: skip
WEIGHTS = {"reco_weight": 0.3, "canon_weight": 0.7, "view_weight": 2.0, "view_prior": 0.1}


@pytest.fixture(params=RECONSTRUCTORS, ids=lambda config: config["type"])
def reconstructor(request):
    return request.param


def build(reconstructor, fusion):
    torch.manual_seed(0)
    return MODELS.build(
        {
            "type": "FaceRecognizer",
            "backbone": {
                "type": "MobileFaceNet", "embedding_size": 8, "image_size": SIZE, "width": 0.25,
            },
            "head": {"type": "LinearHead", "num_classes": 3, "in_channels": 8},
            "reconstructor": reconstructor,
            "fusion": fusion,
            **WEIGHTS,
        }
    ).train()  # fmt: skip


def batch(count=3):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, SIZE, SIZE, generator=generator) * 2 - 1
    return images, torch.arange(count) % 3


def taken_apart(model, images):
    """Return depth, albedo, light, view and the terms of the canonical face, network by network."""
    depth, albedo, terms = model.canonical(images)
    strength, direction = model.light_network(images).split(2, dim=1)
    light = torch.cat([strength / 2 + 0.5, direction], 1)
    return depth, albedo, light, model.view_network(images) * model.view_range, terms


def separate_passes(model, images, labels):
    """Compute the four terms of joint training; each term reconstructs and shades faces anew."""
    reconstruct = model.reconstructor
    small = resize(images, SMALL)

    def shaded(depth, albedo, light):
        return shade(albedo, lambert_shading(normals_from_depth(depth), light))

    depth, albedo, light, view, _ = taken_apart(reconstruct, small)
    canonical = resize(shaded(depth, albedo, light).clamp(-1, 1), SIZE)
    more = {
        "none": [],
        "canonical": [canonical],
        "depth": [resize(10 * (depth[:, None] - 1), SIZE)],
        "canonical_depth": [canonical, resize(10 * (depth[:, None] - 1), SIZE)],
    }[model.fusion]
    both = torch.cat([torch.cat([picture, *more], 1) for picture in (images, canonical)])
    logits = model.backbone(both) @ model.head.weight.T
    losses = [functional.cross_entropy(part, labels) for part in logits.chunk(2)]

    depth, albedo, light, view_again, terms = taken_apart(reconstruct, small)
    sigma = functional.softplus(reconstruct.confidence_network(small))
    reco = sum(terms.values())
    reco = reco + reconstruct.view_prior * (view_again / reconstruct.view_range).square().mean()
    faces = [(1.0, depth, albedo), (reconstruct.flip_weight, depth.flip(2), albedo.flip(3))]
    for number, (weight, relief, colour) in enumerate(faces):
        surface = reconstruct.surface(relief)
        picture = reconstruct.renderer.render(shaded(relief, colour, light), surface, view_again)
        reco = reco + weight * confidence_l1(picture[0], small, picture[1], sigma[:, [number]])

    view_of_mirrored = taken_apart(reconstruct, small.flip(3))[3]
    asymmetry = (view_of_mirrored - mirror_view(view)).square().mean()
    return {
        "loss_cls": losses[0],
        "loss_canon": WEIGHTS["canon_weight"] * losses[1],
        "loss_reco": WEIGHTS["reco_weight"] * reco,
        "loss_view": WEIGHTS["view_weight"]
        * (asymmetry + WEIGHTS["view_prior"] * view.square().mean()),
    }


@pytest.mark.parametrize("fusion", ["none", "canonical", "depth", "canonical_depth"])
def test_terms_and_gradients_equal_those_of_separate_passes(reconstructor, fusion):
    images, labels = batch()
    found = []
    for step in (lambda model, *inputs: model(*inputs, mode="loss"), separate_passes):
        model = build(reconstructor, fusion).double()
        # The light is bright, so that parts of the faces are over-exposed.
        torch.nn.init.constant_(model.reconstructor.light_network.network[-2].bias, 1.0)
        # The backbone would return float32.
        model.backbone.forward = lambda x, b=model.backbone: b.embedding(
            b.pool(b.expand(b.blocks(b.stem(x))))
        ).flatten(1)
        terms = {k: v for k, v in step(model, images.double(), labels).items() if "loss" in k}
        sum(terms.values()).backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters()}
        assert all(gradient is not None for gradient in gradients.values())
        found.append((terms, gradients))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-11)


def test_a_step_runs_each_network_once_and_draws_each_face_twice(reconstructor, monkeypatch):
    model = build(reconstructor, "canonical_depth")
    passes, drawn = {}, []
    names = {module: name.rpartition(".")[2] for name, module in model.named_modules()}

    def count(network, inputs, output):
        passes[names[network]] = passes.get(names[network], 0) + len(inputs[0])

    for network, name in names.items():
        if name.endswith("_network") or name == "backbone":
            network.register_forward_hook(count)
    render = GridMeshRenderer.render

    def counted(self, texture, depth, view):
        drawn.append(len(view))
        return render(self, texture, depth, view)

    monkeypatch.setattr(GridMeshRenderer, "render", counted)
    images, labels = batch(4)
    model(images, labels, mode="loss")
    # The recognizer sees images and canonical faces, the view network images and mirrored images.
    twice = {"backbone", "view_network"}
    assert passes == {name: 8 if name in twice else 4 for name in passes}
    assert set(passes) == twice | {
        name for name, _ in model.reconstructor.named_children() if name.endswith("_network")
    }
    assert sum(drawn) == 8

    passes.clear()
    drawn.clear()
    with torch.no_grad():
        model.eval()(images)
    assert not drawn, "an embedding needs no rendering"
    assert set(passes.values()) == {4} and "confidence_network" not in passes
