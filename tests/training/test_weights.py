"""Initial weights are read from every supported form; weights that do not fit are refused."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from safetensors.torch import load_file, save_file

from lh2face.artifacts.model import load_model, read_description, save_model
from lh2face.backbones import IResNet, MobileFaceNet
from lh2face.params import load_params
from lh2face.registry import MODELS
from lh2face.stages import weights as stage
from lh2face.training.weights import FaceWeights, WeightsError, read_weights

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"embedding_size": 16, "image_size": 32, "width": 0.25}
RECONSTRUCTOR = {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}


def backbone(seed: int) -> MobileFaceNet:
    torch.manual_seed(seed)
    return MobileFaceNet(**SMALL)


def recognizer(seed: int, **more) -> torch.nn.Module:
    torch.manual_seed(seed)
    head = {"type": "NormFaceHead", "num_classes": 3 + seed, "in_channels": 16}
    config = {"type": "FaceRecognizer", "backbone": {"type": "MobileFaceNet", **SMALL}}
    return MODELS.build({**config, "head": head, **more})


def saved(folder: Path, model: torch.nn.Module) -> Path:
    """Save a model folder as stage ``train`` does."""
    folder.mkdir()
    config = {"type": "FaceRecognizer", "backbone": {"type": "MobileFaceNet", **SMALL}}
    if model.reconstructor is not None:
        config["reconstructor"] = RECONSTRUCTOR
    save_model(folder, model, config, {})
    return folder


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def files(folder: Path, model: torch.nn.Module):
    """Save the weights of a model in every supported form."""
    whole = {name: value.contiguous() for name, value in model.state_dict().items()}
    own = {n.removeprefix("backbone."): v for n, v in whole.items() if n.startswith("backbone.")}
    torch.save(own, folder / "backbone.pth")
    torch.save({f"module.{name}": value for name, value in own.items()}, folder / "module.pth")
    torch.save({"epoch": 3, "state_dict": whole}, folder / "checkpoint.pth")
    save_file(own, folder / "backbone.safetensors")
    save_file(
        {f"module.{name}": value for name, value in whole.items()}, folder / "all.safetensors"
    )
    yield saved(folder / "model", model)
    yield from sorted(path for path in folder.iterdir() if path.is_file())


def test_every_form_goes_into_a_backbone_and_into_a_recognizer(tmp_path):
    model = recognizer(1)
    paths = list(files(tmp_path, model))
    assert len(paths) == 6
    for path in paths:
        alone, whole = backbone(2), recognizer(2)
        head = whole.head.state_dict()
        head = {name: value.clone() for name, value in head.items()}
        FaceWeights(str(path))(alone)
        FaceWeights(str(path))(whole)
        assert_same(alone.state_dict(), model.backbone.state_dict())
        assert_same(whole.backbone.state_dict(), model.backbone.state_dict())
        assert_same(whole.head.state_dict(), head)


def test_a_reconstructor_is_read_if_both_models_have_one(tmp_path):
    joint, plain = recognizer(1, reconstructor=RECONSTRUCTOR), recognizer(3)
    both, alone = saved(tmp_path / "both", joint), saved(tmp_path / "alone", plain)
    found = recognizer(2, reconstructor=RECONSTRUCTOR)
    own = {name: value.clone() for name, value in found.reconstructor.state_dict().items()}
    FaceWeights(str(alone))(found)
    assert_same(found.backbone.state_dict(), plain.backbone.state_dict())
    assert_same(found.reconstructor.state_dict(), own)
    FaceWeights(str(both))(found)
    assert_same(found.reconstructor.state_dict(), joint.reconstructor.state_dict())
    FaceWeights(str(both))(plain)
    assert_same(plain.backbone.state_dict(), joint.backbone.state_dict())


def test_weights_in_half_precision_are_converted(tmp_path):
    one = backbone(1)
    torch.save({name: v.half() if v.is_floating_point() else v
                for name, v in one.state_dict().items()}, tmp_path / "half.pth")  # fmt: skip
    found = backbone(2)
    FaceWeights(str(tmp_path / "half.pth"))(found)
    for name, value in found.state_dict().items():
        assert value.dtype == one.state_dict()[name].dtype
        torch.testing.assert_close(value, one.state_dict()[name], rtol=1e-3, atol=1e-3)


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def hostile(path: Path, folder: Path) -> None:
    torch.save({**backbone(0).state_dict(), "more": Hostile(folder)}, path)


def compressed(path: Path) -> None:
    """Write a file of PyTorch with compressed parts, which could unpack to any size."""
    torch.save({"weight": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as file:
        parts = {part.filename: file.read(part) for part in file.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file; expected initial weights"),
        (lambda path: path.touch(), "the file is empty"),
        (lambda path: path.mkdir(), r"no model\.safetensors or weights\.safetensors in it"),
        (lambda path: path.write_bytes(b"weights"), "not a file of PyTorch 1.6 or later"),
        (lambda path: hostile(path, path.with_name("made")), "it names posix.mkdir, which weights"),
        (
            lambda path: path.write_bytes(pickle.dumps(Hostile(path.with_name("made")))),
            "not a file of PyTorch 1.6 or later",
        ),
        (
            lambda path: torch.save(backbone(0), path),
            r"it names \S+MobileFaceNet, which weights do not need",
        ),
        (compressed, "not read: damaged"),
        (lambda path: torch.save({}, path), "expected a dictionary of tensors, found a dict"),
        (
            lambda path: torch.save(torch.ones(3), path),
            "expected a dictionary of tensors, found a Tensor",
        ),
        (lambda path: torch.save({"a": 3}, path), "'a' is not a plain tensor"),
        (lambda path: torch.save({1: torch.ones(1)}, path), "1 is not a plain tensor"),
        (
            lambda path: torch.save({"a": torch.ones(2, 2).to_sparse()}, path),
            "'a' is not a plain tensor",
        ),
        (
            lambda path: torch.save(torch.nn.Linear(16, 16, device="meta").state_dict(), path),
            "'weight' is not a plain tensor",
        ),
    ],
)
def test_files_without_weights_are_refused_in_one_line_and_run_nothing(tmp_path, make, message):
    path = tmp_path / "weights.pth"
    make(path)
    with pytest.raises(WeightsError, match=message) as raised:
        read_weights(path, backbone(0))
    assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("length", [0, 7, 200, -1])
def test_a_truncated_safetensors_file_is_refused(tmp_path, length):
    path = tmp_path / "weights.safetensors"
    save_file(backbone(0).state_dict(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match=r"weights\.safetensors: (the file is empty|damaged)"):
        read_weights(path, backbone(0))


def test_a_truncated_file_of_pytorch_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(backbone(0).state_dict(), path)
    whole = path.read_bytes()
    for length in (100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"weights\.pth: not "):
            read_weights(path, backbone(0))


def test_names_that_differ_are_listed(tmp_path):
    state = backbone(0).state_dict()
    first, *_ = state
    torch.save({**{n: v for n, v in state.items() if n != first}, "extra.weight": torch.ones(1)},
               tmp_path / "a.pth")  # fmt: skip
    with pytest.raises(WeightsError) as raised:
        read_weights(tmp_path / "a.pth", recognizer(0))
    assert str(raised.value).splitlines() == [
        f"{tmp_path / 'a.pth'}: the file has no backbone.{first}",
        f"{tmp_path / 'a.pth'}: the network has no extra.weight",
    ]
    torch.save(IResNet(depth=18, image_size=32, embedding_size=16).state_dict(), tmp_path / "b.pth")
    with pytest.raises(WeightsError) as raised:
        read_weights(tmp_path / "b.pth", backbone(0))
    lines = str(raised.value).splitlines()
    assert len(lines) == 2 and all(" more" in line and len(line) < 400 for line in lines)


def test_shapes_are_compared_before_anything_is_read(tmp_path):
    torch.save(MobileFaceNet(**{**SMALL, "embedding_size": 32}).state_dict(), tmp_path / "a.pth")
    with pytest.raises(
        WeightsError, match=r"has the shape \[32, \d+, 1, 1\], the network needs \[16"
    ):
        read_weights(tmp_path / "a.pth", backbone(0))
    # A file that claims a petabyte takes no memory.
    huge = torch.ones(1).expand(1 << 40)
    state = {**backbone(0).state_dict()}
    state[next(iter(state))] = huge
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"has the shape \[1099511627776\]"):
        with torch.device("meta"):
            network = MobileFaceNet(**SMALL)
        read_weights(tmp_path / "b.pth", network)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    state = backbone(0).state_dict()
    name = next(name for name in reversed(state) if state[name].is_floating_point())
    state[name].view(-1)[0] = value
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=f"{name} holds NaN or infinity"):
        read_weights(tmp_path / "a.pth", backbone(0))


@pytest.mark.parametrize("where", ["backbone", "model"])
def test_a_run_begins_with_the_given_weights(config, tmp_path, where):
    torch.save(backbone(7).state_dict(), tmp_path / "backbone.pth")
    init = {"type": "FaceWeights", "path": str(tmp_path / "backbone.pth")}
    (config.model.backbone if where == "backbone" else config.model).init_cfg = init
    config.optim_wrapper.optimizer.lr = 0.0
    runner = Runner.from_cfg(config)
    model = runner.train()
    for name, value in model.backbone.named_parameters():
        assert torch.equal(value, backbone(7).get_parameter(name)), name


def test_a_resumed_run_has_the_weights_of_its_checkpoint(config, tmp_path):
    torch.save(backbone(7).state_dict(), tmp_path / "backbone.pth")
    config.model.backbone.init_cfg = {
        "type": "FaceWeights", "path": str(tmp_path / "backbone.pth")
    }  # fmt: skip
    trained = {
        name: value.clone() for name, value in Runner.from_cfg(config).train().state_dict().items()
    }
    config.resume, config.experiment_name = True, config.experiment_name + "-on"
    runner = Runner.from_cfg(config)
    assert_same(dict(runner.train().state_dict()), trained)
    name = "stem.0.0.weight"
    assert not torch.equal(trained[f"backbone.{name}"], backbone(7).state_dict()[name])


def test_mmengines_init_cfg_works_on_a_backbone():
    model = recognizer(1, backbone={
        "type": "MobileFaceNet", **SMALL,
        "init_cfg": {"type": "Constant", "layer": "Conv2d", "val": 0.25},
    })  # fmt: skip
    model.init_weights()
    assert (model.backbone.stem[0][0].weight == 0.25).all()


def test_the_stage_converts_weights_and_records_their_origin(tmp_path):
    params = load_params(ROOT / "params.yaml")
    torch.manual_seed(0)
    network = MODELS.build(params.train.recipe().model.backbone)
    torch.save({f"module.{n}": v for n, v in network.state_dict().items()}, tmp_path / "net.pth")
    stage.run(params, tmp_path / "net.pth", tmp_path / "init")
    assert_same(load_file(tmp_path / "init" / "weights.safetensors"), dict(network.state_dict()))
    assert str(tmp_path / "net.pth") in (tmp_path / "init" / "provenance.json").read_text()
    torch.save(backbone(0).state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="has the shape"):
        stage.run(params, tmp_path / "other.pth", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_model_keeps_no_path_of_its_initial_weights(tmp_path):
    model = recognizer(1)
    init = {"type": "FaceWeights", "path": "gone.pth"}
    config = {
        "type": "FaceRecognizer", "init_cfg": init,
        "backbone": {"type": "MobileFaceNet", **SMALL, "init_cfg": init},
    }  # fmt: skip
    save_model(tmp_path, model, config, {})
    assert "init_cfg" not in str(read_description(tmp_path))
    assert_same(load_model(tmp_path).backbone.state_dict(), model.backbone.state_dict())
