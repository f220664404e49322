"""A config out of a file may name only registered classes and their documented arguments."""

import math

import pytest
import torch
from torch import nn

from lh2face.data.datasets import RecordFaces
from lh2face.registry import MODELS, ROLES, build, check, check_arguments

BACKBONE = {"type": "MobileFaceNet", "embedding_size": 8, "image_size": 32, "width": 0.25}


def test_the_packages_own_parts_are_built():
    model = build("recognizer", {"type": "FaceRecognizer", "backbone": BACKBONE}, "here")
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 8)
    head = build("head", {"type": "MagFaceHead", "norm_range": [1, 30]}, "here", num_classes=3)
    assert head.norm_range == (1, 30) and head.proxies.num_classes == 3
    rates = {"type": "Adam", "lr": 1, "betas": [0.5, 0.9]}
    assert build("optimizer", rates, "here", params=[torch.zeros(2)]).defaults["lr"] == 1


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "lh2face.heads.CosFaceHead", "CosFase", "", None, 3, []]
)
def test_only_registered_names_are_accepted(name):
    with pytest.raises(ValueError, match=r"^here\.type: (found .*CosFaceHead|missing)"):
        check("head", {"type": name} if name is not None else {}, "here")


@pytest.mark.parametrize(
    ("role", "name"),
    [
        ("head", "MobileFaceNet"), ("head", "Proxies"), ("backbone", "CosFaceHead"),
        ("backbone", "FaceRecognizer"), ("reconstructor", "IResNet"), ("optimizer", "CosFaceHead"),
        ("recognizer", "MobileFaceNet"), ("optimizer", "Optimizer"), ("head", "SGD"),
    ],
)  # fmt: skip
def test_a_class_of_another_kind_is_refused(role, name):
    with pytest.raises(ValueError, match=rf"here\.type: found '{name}'.* allowed are"):
        check(role, {"type": name}, "here")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "RandomMirrow"}, r"here\.pipeline\.1\.type: found 'RandomMirrow'.* RandomMirror"),
        ({"type": "os.system"}, r"here\.pipeline\.1\.type: found 'os.system'"),
        ({"type": "MobileFaceNet"}, r"here\.pipeline\.1\.type: found 'MobileFaceNet'"),
        ({"type": "RandomBlur", "sigma": 2}, r"here\.pipeline\.1\.sigma: expected tuple"),
        ({"type": "RandomBlur", "sigm": 2}, r"here\.pipeline\.1\.sigm: unknown; RandomBlur allows"),
    ],
)
def test_transforms_in_a_list_are_checked(config, message):
    mirror = {"type": "RandomMirror", "probability": 0.5}
    check_arguments(RecordFaces, {"root": "a", "pipeline": [mirror]}, "here")
    with pytest.raises(ValueError, match=message):
        check_arguments(RecordFaces, {"root": "a", "pipeline": [mirror, config]}, "here")


@pytest.mark.parametrize(
    "value", ["30", True, math.nan, math.inf, None, [30.0], 10**400, {"a": 1}, "0"]
)
def test_a_value_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"here\.scale: expected float, found"):
        check("head", {"type": "CosFaceHead", "scale": value, "num_classes": 2}, "here")


@pytest.mark.parametrize("value", [64.0, "64", True])
def test_a_value_that_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match=r"here\.vmf_dim: expected int, found"):
        check("head", {"type": "LH2FaceHead", "vmf_dim": value, "num_classes": 2}, "here")


@pytest.mark.parametrize("value", [[1.0], [1.0, 2.0, 3.0], [1.0, "2"], "12", 3])
def test_a_pair_has_to_be_two_numbers(value):
    with pytest.raises(ValueError, match=r"here\.norm_range: expected tuple\[float, float\]"):
        check("head", {"type": "MagFaceHead", "norm_range": value, "num_classes": 2}, "here")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"scael": 3.0},
            r"here\.scael: unknown; CosFaceHead allows \['margin', 'proxies', 'scale'",
        ),
        ({"num_classes": 3}, r"here\.num_classes: unknown"),
        ({"_scope_": "os"}, r"here\._scope_: unknown"),
        ({"proxies": {"_scope_": "os"}}, r"here\.proxies\._scope_: not allowed"),
        (
            {"proxies": {"type": "Proxies", "in_channels": 3}},
            r"here\.proxies\.in_channels: unknown",
        ),
        ({"proxies": {"a": [{"type": "os.system"}]}}, r"here\.proxies\.a\.0: found a config"),
    ],
)
def test_only_arguments_of_the_class_are_accepted(config, message):
    with pytest.raises(ValueError, match=message):
        check("head", {"type": "CosFaceHead", **config}, "here", {"num_classes", "in_channels"})


def test_a_missing_argument_is_named():
    with pytest.raises(ValueError, match=r"here\.backbone: missing; FaceRecognizer needs it"):
        check("recognizer", {"type": "FaceRecognizer"}, "here")
    with pytest.raises(ValueError, match=r"here\.head: missing; ShardedHead needs it"):
        check("head", {"type": "ShardedHead"}, "here", {"num_classes"})


def test_an_error_of_a_class_gives_one_line():
    with pytest.raises(ValueError, match=r"^here: IResNet cannot be built: depth: expected one"):
        build("backbone", {"type": "IResNet", "depth": 19}, "here")
    with pytest.raises(ValueError, match=r"^here: MobileFaceNet cannot be built: [^\n]+$"):
        build("backbone", {"type": "MobileFaceNet", "embedding_size": 10**30}, "here")


def test_a_users_class_is_accepted_once_it_is_registered():
    class OwnHead(nn.Module):
        def __init__(self, num_classes, in_channels=512, margin: "Unknown" = 1):  # noqa: F821
            super().__init__()

        def loss(self, embeddings, labels):
            return {}

    config = {"type": "OwnHead", "margin": 2, "num_classes": 3}
    with pytest.raises(ValueError, match="found 'OwnHead'"):
        check("head", config, "here")
    MODELS.register_module(module=OwnHead)
    try:
        assert isinstance(build("head", config, "here"), OwnHead)
        assert "OwnHead" not in ROLES["backbone"].classes()
    finally:
        del MODELS.module_dict["OwnHead"]


def test_a_long_unknown_argument_is_shortened_in_the_error():
    with pytest.raises(ValueError, match=r"^here\.a\\nb\[+: unknown; CosFaceHead allows") as found:
        check("head", {"type": "CosFaceHead", "a\nb" + 5000 * "[": 1}, "here")
    assert len(str(found.value)) < 400 and "\n" not in str(found.value)
