"""The recognizer has the documented modes, and its joint loss has the documented terms."""

import pytest
import torch
from torch.nn import functional

from lh2face.functional.resize import resize
from lh2face.recognizers.fusion import fuse
from lh2face.registry import MODELS

SIZE = 32
BACKBONE = {"type": "MobileFaceNet", "embedding_size": 8, "image_size": SIZE, "width": 0.25}
HEAD = {"type": "LinearHead", "num_classes": 3, "in_channels": 8}


def build(**config):
    torch.manual_seed(0)
    return MODELS.build({"type": "FaceRecognizer", "backbone": BACKBONE, "head": HEAD, **config})


def batch(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, SIZE, SIZE, generator=generator) * 2 - 1
    return images, torch.arange(count) % 3


def test_each_mode_returns_what_is_documented():
    model, (images, labels) = build().eval(), batch()
    embeddings = model(images)
    assert embeddings.shape == (4, 8)
    assert torch.equal(embeddings, model.backbone(images))
    both = torch.stack(model(images, mode="predict"))
    torch.testing.assert_close(both, torch.stack([embeddings, model(images.flip(3))], 1))
    losses = model(images, labels, mode="loss")
    assert torch.equal(losses["loss_cls"], model.head.loss(embeddings, labels)["loss_cls"])
    with pytest.raises(ValueError, match=r"mode: .* found 'train'"):
        model(images, labels, mode="train")


def test_training_needs_a_head_and_labels():
    images, labels = batch()
    with pytest.raises(ValueError, match=r"head: this recognizer has none"):
        build(head=None)(images, labels, mode="loss")
    with pytest.raises(ValueError, match=r"label: .* \(B,\)"):
        build()(images, mode="loss")


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"fusion: expected one of .*, found 'albedo'"):
        build(fusion="albedo", reconstructor={"type": "LinearReconstructor"})
    with pytest.raises(ValueError, match=r"fusion: 'canonical' needs a reconstructor"):
        build(fusion="canonical")
    with pytest.raises(ValueError, match=r"canon_weight: expected a weight"):
        build(canon_weight=-1.0)


@pytest.mark.parametrize(
    ("fusion", "channels"), [("none", 3), ("canonical", 6), ("depth", 4), ("canonical_depth", 7)]
)
def test_fusion_adds_channels(fusion, channels):
    model = build(reconstructor={"type": "LinearReconstructor"}, fusion=fusion).eval()
    images, _ = batch()
    fused = fuse(images, model.reconstruct(images), model.fusion)
    assert fused.shape == (4, channels, SIZE, SIZE)
    assert torch.equal(fused[:, :3], images)
    assert fused.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images), model.backbone(fused))


def test_fused_depth_has_the_range_of_the_image():
    model = build(reconstructor={"type": "LinearReconstructor"}, fusion="canonical_depth")
    images, _ = batch()
    reconstruction = model.reconstruct(images)
    relief = resize((reconstruction.depth[:, None] - 1) / 0.1, SIZE)
    for fusion, first in (("depth", 3), ("canonical_depth", 6)):
        fused = fuse(images, reconstruction, fusion)
        torch.testing.assert_close(fused[:, first:], relief)
        assert fused.abs().max() <= 1


@pytest.mark.parametrize("fusion", ["none", "canonical", "canonical_depth"])
def test_joint_loss_is_the_weighted_sum_of_its_four_terms(fusion):
    weights = {"reco_weight": 0.3, "canon_weight": 0.7, "view_weight": 2.0, "view_prior": 0.1}
    model = build(reconstructor={"type": "LinearReconstructor"}, fusion=fusion, **weights).eval()
    images, labels = batch()
    terms = model(images, labels, mode="loss")

    small = functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    reconstruct = model.reconstructor
    reconstruction = reconstruct(small)
    large = functional.interpolate(
        reconstruction.canonical, (SIZE, SIZE), mode="bilinear", antialias=True
    )
    embeddings = model.backbone(fuse(images, reconstruction, model.fusion))
    canonical_embeddings = model.backbone(fuse(large, reconstruction, model.fusion))
    logits = [e @ model.head.weight.T for e in (embeddings, canonical_embeddings)]
    flip = torch.tensor([1.0, -1.0, -1.0, -1.0, 1.0, 1.0])
    view, mirrored = reconstruction.view, reconstruct(small.flip(3)).view
    expected = {
        "loss_cls": functional.cross_entropy(logits[0], labels),
        "loss_canon": 0.7 * functional.cross_entropy(logits[1], labels),
        "loss_reco": 0.3 * ((small * 0.5 - small).abs().mean() + 0.25),
        "loss_view": 2 * (((mirrored - view * flip) ** 2).mean() + 0.1 * (view**2).mean()),
    }
    losses = {name: value for name, value in terms.items() if "loss" in name}
    assert set(losses) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    total, logged = model.parse_losses(terms)
    torch.testing.assert_close(total, sum(expected.values()))
    torch.testing.assert_close(logged["kappa"], embeddings.norm(dim=1).mean())


def test_joint_loss_trains_backbone_head_and_reconstructor():
    model = build(reconstructor={"type": "LinearReconstructor"}, fusion="canonical_depth").train()
    total, _ = model.parse_losses(model(*batch(), mode="loss"))
    total.backward()
    for part in (model.backbone, model.head, model.reconstructor):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_landmarks_are_passed_to_the_reconstructors_loss(monkeypatch):
    model, (images, labels) = build(reconstructor={"type": "LinearReconstructor"}), batch()
    landmarks, given = torch.rand(len(images), 5, 2), []
    loss = model.reconstructor.loss
    monkeypatch.setattr(
        model.reconstructor,
        "loss",
        lambda *arguments: given.append(arguments[2]) or loss(*arguments),
    )
    model(images, labels, mode="loss", landmarks=landmarks)
    model(images, labels, mode="loss")
    assert given == [landmarks, None]


def test_the_heads_statistics_are_those_of_the_images_not_of_canonical_faces(monkeypatch):
    model = build(reconstructor={"type": "LinearReconstructor"}).eval()
    seen, loss = [], type(model.head).loss

    def note(self, embeddings, labels):
        seen.append(embeddings)
        return loss(self, embeddings, labels)

    monkeypatch.setattr(type(model.head), "loss", note)
    images, labels = batch()
    model(images, labels, mode="loss")
    assert len(seen) == 2
    torch.testing.assert_close(seen[-1], model.backbone(images))
    assert not torch.allclose(seen[0], seen[1])
