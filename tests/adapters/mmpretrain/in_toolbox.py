"""The heads work in the real ImageClassifier; ``test_mmpretrain.py`` runs this file in the
environment of mmpretrain."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample

from lh2face import heads

ROOT = Path(__file__).resolve().parents[3]
HEADS = [name for name in heads.__all__ if name != "Proxies"]
PEOPLE = 5


@pytest.fixture(autouse=True, scope="module")
def scope():
    """The scope that a config with ``default_scope`` runs in."""
    DefaultScope.get_instance("heads", scope_name="mmpretrain")


def samples(count: int) -> list[DataSample]:
    return [DataSample().set_gt_label(i % PEOPLE) for i in range(count)]


@pytest.fixture(scope="module")
def parts() -> dict:
    """Backbone and neck of the documented model, built once, and its head."""
    page = (ROOT / "docs/how-to/plug-in.md").read_text().partition("## mmpretrain")[2]
    space: dict = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], space)
    torch.manual_seed(0)
    model = space["model"]
    return {
        **model,
        "backbone": MODELS.build(model["backbone"]),
        "neck": MODELS.build(model["neck"]),
    }


def classifier(parts: dict, **changes: object) -> torch.nn.Module:
    return MODELS.build({**parts, **changes})


def pictures() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def check_all_modes(model: torch.nn.Module) -> None:
    images = pictures()
    losses = model(images, samples(4), mode="loss")
    assert any("loss" in name for name in losses)
    assert all(term.isfinite() for term in losses.values())
    model.eval()
    with torch.no_grad():
        scores = model(images, mode="tensor")
        embeddings = model.extract_feat(images, stage="pre_logits")
        given = samples(4)
        predicted, new = model(images, given, mode="predict"), model(images, mode="predict")
    assert embeddings.shape == (4, 512) and (embeddings < 0).any() and (embeddings > 0).any()
    assert all(a is b for a, b in zip(predicted, given, strict=True))
    for found in (predicted, new):
        torch.testing.assert_close(torch.stack([s.pred_score for s in found]), scores.softmax(1))
        assert [s.pred_label.tolist() for s in found] == scores.argmax(1, keepdim=True).tolist()


def test_the_documented_model_works_in_every_mode(parts):
    check_all_modes(classifier(parts))


@pytest.mark.parametrize("name", HEADS)
def test_every_head_works_in_every_mode(parts, name):
    head = {"type": name, "num_classes": PEOPLE, "in_channels": 512}
    check_all_modes(classifier(parts, head=head))
    sharded = {"type": "ShardedHead", "head": head}
    check_all_modes(classifier(parts, head=sharded))


def test_arcface_gives_the_loss_of_the_toolboxs_arcface():
    size = {"num_classes": PEOPLE, "in_channels": 16}
    theirs = MODELS.build({"type": "ArcFaceClsHead", **size})
    ours = MODELS.build({"type": "ArcFaceHead", **size})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        ours.proxies.weight.copy_(torch.randn(PEOPLE, 16, generator=generator))
        theirs.norm_product.weight.copy_(ours.proxies.weight)
    embeddings = 5 * torch.randn(20, 16, generator=generator)
    # Some embeddings are so far from their proxies that the second branch of the margin is used.
    embeddings[:PEOPLE] = -5 * ours.proxies.weight.detach() + 0.1 * embeddings[:PEOPLE]
    losses, gradients = [], []
    for head in (theirs, ours):
        rows = embeddings.clone().requires_grad_()
        loss = head.loss((rows,), samples(20))["loss"]
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, rows)[0])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ours((embeddings,)), theirs((embeddings,)))
    pairs = zip(ours.predict((embeddings,)), theirs.predict((embeddings,)), strict=True)
    for mine, other in pairs:
        torch.testing.assert_close(mine.pred_score, other.pred_score)
        assert torch.equal(mine.pred_label, other.pred_label)


def test_mixup_is_refused(parts):
    augments = {"augments": {"type": "Mixup", "alpha": 0.8}}
    head = {"type": "LH2FaceHead", "num_classes": PEOPLE, "in_channels": 512}
    preprocessor = {"num_classes": PEOPLE}
    model = classifier(parts, head=head, train_cfg=augments, data_preprocessor=preprocessor)
    data = {"inputs": list(pictures()), "data_samples": samples(4)}
    mixed = model.data_preprocessor(data, training=True)
    with pytest.raises(ValueError, match="gt_score"):
        model(**mixed, mode="loss")


def test_the_documented_pipeline_runs(tmp_path):
    """Our transforms run between those of the toolbox, which has a RandomCrop of its own."""
    page = (ROOT / "docs/how-to/plug-in.md").read_text().partition("## Augmentation")[2]
    space: dict = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], space)
    noise = np.random.default_rng(0).integers(0, 256, (90, 100, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), noise)
    changed = {"probability": 1.0}
    pipeline = [{**one, **changed} if "prob" in str(one) else one for one in space["pipeline"]]
    torch.manual_seed(0)
    images = []
    for steps in (pipeline, [pipeline[0], pipeline[1], pipeline[-1]]):
        transforms = [TRANSFORMS.build(one) for one in steps]
        data = {"img_path": str(tmp_path / "a.png"), "gt_label": 3}
        for transform in transforms:
            data = transform(data)
        images.append(data["inputs"])
    assert all(image.shape == (3, 112, 112) for image in images)
    assert data["data_samples"].gt_label.tolist() == [3]
    black = (images[0] == 0).all(0).float().mean()
    assert 0 < black < 0.81  # AdaFace's crop, which keeps the size
