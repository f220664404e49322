"""Networks of timm work as backbones; ``make test-mmpretrain`` installs timm and runs this file."""

import sys

import pytest
import torch

from lh2face.adapters.insightface import export_onnx
from lh2face.artifacts.model import load_model, save_model
from lh2face.backbones import TimmBackbone
from lh2face.registry import MODELS

# A convolutional network, one with attention of a fixed size, and one that downsamples in a stem.
NAMES = ["resnet10t", "vit_tiny_patch16_224", "convnext_atto"]


def test_without_timm_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'needs timm.*pip install "lh2face\[timm\]"'):
        TimmBackbone("resnet18")


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip(
        "timm", reason="needs timm, which is in an environment of its own: make test-mmpretrain"
    )


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Makes every download fail."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def backbone(name: str, **changes) -> TimmBackbone:
    torch.manual_seed(0)
    config = {"type": "TimmBackbone", "name": name, "embedding_size": 24, "image_size": 64}
    return MODELS.build({**config, **changes})


@pytest.mark.parametrize("size", [32, 112])
@pytest.mark.parametrize("name", NAMES)
def test_embeddings_have_the_expected_shape(timm, name, size):
    found = backbone(name, image_size=size, in_channels=4)(torch.zeros(2, 4, size, size))
    assert found.shape == (2, 24) and found.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_timms_on_images_normalised_by_timm(timm, name):
    model = backbone(name).eval()
    config = timm.get_pretrained_cfg(name)
    arguments = {"img_size": 64} if config.fixed_input_size else {}
    theirs = timm.create_model(name, num_classes=24, **arguments).eval()
    theirs.load_state_dict(model.network.state_dict())
    pixels = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.mean, config.std))
    expected = theirs((pixels - mean) / std)
    torch.testing.assert_close(model(2 * pixels - 1), expected, rtol=1e-4, atol=1e-5)


def test_building_draws_weights_once_and_none_on_the_meta_device(timm):
    torch.manual_seed(0)
    timm.create_model("resnet10t", num_classes=24)
    expected = torch.rand(3)
    backbone("resnet10t")
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(5)
    expected = torch.get_rng_state()
    with torch.device("meta"):
        TimmBackbone("vit_tiny_patch16_224", image_size=64)
    assert torch.equal(torch.get_rng_state(), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, r"name: expected one of timm\.list_models\(\) .* found 'resnet19'"),
        ({"name": "hf_hub:timm/resnet18.a1_in1k"}, "name: expected one of .* found 'hf_hub:timm"),
        ({"name": "resnet18.no_such_tag"}, "resnet18.no_such_tag: cannot be built"),
        ({"name": "vit_tiny_patch16_224", "image_size": 8}, "built for images of 8 px"),
        ({"name": "maxvit_rmlp_nano_rw_256", "image_size": 112},
         "images of 112 px .*height .28. must be divisible by window"),
        ({"name": "resnet10t", "image_size": 0}, "image_size: expected a whole number"),
        ({"name": "resnet10t", "embedding_size": 0}, "embedding_size: expected a whole number"),
        ({"name": "vgg11", "drop_path_rate": 0.1}, "vgg11: cannot be built .*drop_path_rate"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_built_is_named(timm, arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**arguments)


@pytest.fixture
def published(timm, monkeypatch):
    """Replaces timm's download of weights; counts how often it is called."""
    create, calls = timm.create_model, []

    def create_model(*args, pretrained=False, **kwargs):
        model = create(*args, **kwargs)
        if pretrained:
            calls.append(kwargs)
            for parameter in model.parameters():
                torch.nn.init.constant_(parameter, 0.25)
        return model

    monkeypatch.setattr(timm, "create_model", create_model)
    return calls


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pretrained", [True, False])
def test_published_weights_are_loaded_when_training_begins_if_asked(published, name, pretrained):
    config = {"type": "TimmBackbone", "name": name, "embedding_size": 24, "image_size": 64}
    model = MODELS.build(
        {"type": "FaceRecognizer", "backbone": {**config, "pretrained": pretrained}}
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert not published
    model.init_weights()
    assert len(published) == pretrained
    if pretrained:
        assert all((p == 0.25).all() for p in model.backbone.parameters())
    else:
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_timm_backbone_is_saved_loaded_and_exported(timm, tmp_path, name, published):
    ort = pytest.importorskip("onnxruntime")
    config = {
        "type": "FaceRecognizer",
        "backbone": {"type": "TimmBackbone", "name": name, "embedding_size": 24,
                     "image_size": 112, "pretrained": True},
    }  # fmt: skip
    torch.manual_seed(0)
    model = MODELS.build(config).eval()
    save_model(tmp_path, model, config, {})
    images = torch.rand(3, 3, 112, 112) * 2 - 1
    expected = model(images)
    assert torch.equal(load_model(tmp_path)(images), expected)
    export_onnx(tmp_path, tmp_path / "a.onnx")
    session = ort.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected.detach(), rtol=1e-3, atol=1e-4)
    assert not published


def test_a_timm_backbone_trains_under_autocast(timm):
    model = backbone("convnext_atto", drop_path_rate=0.1, drop_rate=0.1).train()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(torch.rand(2, 3, 64, 64))
    assert found.dtype == torch.float32
    found.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
