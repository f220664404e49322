"""A model folder loads as it was saved; a damaged one gives one line and costs no memory."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from lh2face.artifacts.file_names import DESCRIPTION, RECONSTRUCTOR_WEIGHTS, WEIGHTS
from lh2face.artifacts.model import (
    head_dim,
    load_model,
    load_reconstructor,
    load_weights,
    model_digest,
    read_description,
    save_model,
)
from lh2face.registry import build

RECOGNIZER = {
    "type": "FaceRecognizer",
    "backbone": {"type": "MobileFaceNet", "embedding_size": 8, "image_size": 32, "width": 0.25},
}
RECONSTRUCTOR = {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}


@pytest.fixture
def folder(tmp_path):
    config = RECOGNIZER
    save_model(tmp_path, build("recognizer", config, "test"), config, {"params": {}})
    return tmp_path


@pytest.fixture
def fitted(tmp_path):
    folder = tmp_path / "fit3d"
    folder.mkdir()
    model = build("reconstructor", RECONSTRUCTOR, "test")
    save_file(model.state_dict(), folder / RECONSTRUCTOR_WEIGHTS)
    (folder / DESCRIPTION).write_text(json.dumps({"reconstructor": RECONSTRUCTOR}))
    return folder


def test_others_may_read_the_weights(folder):
    """safetensors itself writes files that only their owner may read."""
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {0o666 & ~umask()}


def umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_an_oserror(tmp_path):
    (tmp_path / WEIGHTS).symlink_to("/dev/full")
    config = RECOGNIZER
    with pytest.raises(OSError, match="No space left"):
        save_model(tmp_path, build("recognizer", config, "test"), config, {})


def change(folder, **values) -> None:
    path = folder / DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(load, folder) -> str:
    with pytest.raises(ValueError) as raised:
        load(folder)
    assert "\n" not in str(raised.value) and str(folder) in str(raised.value)
    return str(raised.value)


def test_a_model_folder_loads_as_it_was_saved(folder):
    weights = load_file(folder / WEIGHTS)
    loaded = load_model(folder).state_dict()
    assert weights.keys() == loaded.keys()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 0.5, -1])
def test_truncated_weights_are_named_in_the_error(folder, fitted, kept):
    places = ((folder / WEIGHTS, load_model), (fitted / RECONSTRUCTOR_WEIGHTS, load_reconstructor))
    for path, load in places:
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * kept) if isinstance(kept, float) else kept])
        assert f"{path}: damaged or cut short" in refused(load, path.parent)


def test_weights_that_do_not_fit_the_description_are_refused(folder):
    path = folder / WEIGHTS
    weights = load_file(path)
    save_file({**weights, "more": torch.zeros(3)}, path)
    assert "model.json: more is [3], expected none" in refused(load_model, folder)
    name, tensor = next(iter(sorted(weights.items())))
    save_file({**weights, name: tensor[None].contiguous()}, path)
    assert f"{name} is [1, {tensor.shape[0]}" in refused(load_model, folder)
    del weights[name]
    save_file(weights, path)
    assert f"{name} is missing, expected [" in refused(load_model, folder)
    (folder / WEIGHTS).unlink()
    assert "model.safetensors: no such file" in refused(load_model, folder)


def test_a_description_of_huge_sizes_is_refused_without_allocating(folder, fitted):
    # Built before the weights are looked at, these models would take petabytes.
    huge = {"type": "IResNet", "embedding_size": 10**14, "image_size": 32}
    change(fitted, reconstructor={**RECONSTRUCTOR, "width": 10**6})
    assert "reconstructor.safetensors: weights do not fit" in refused(load_reconstructor, fitted)
    config = {"type": "FaceRecognizer", "backbone": huge}
    values = {"recognizer": config, "image_size": 32, "embedding_size": 10**14}
    (folder / DESCRIPTION).write_text(json.dumps(values))
    save_file({"x": torch.zeros(1)}, folder / WEIGHTS)
    assert "model.safetensors: weights do not fit" in refused(load_model, folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recognizer": None}, "recognizer.type: missing"),
        ({"recognizer": []}, "recognizer.type: missing"),
        ({"image_size": "32"}, "image_size: expected that of the recognizer's backbone, 32, "),
        ({"image_size": 48}, "the recognizer's backbone, 32, found 48"),
        ({"embedding_size": None}, "embedding_size: expected that of"),
        ({"head": 3}, "head: expected a mapping, found 3"),
        ({"head": {"head": 3}}, "head.head: expected a mapping, found 3"),
        ({"provenance": [1]}, "provenance: expected a mapping, found [1]"),
        ({"provenance": {"params": {"train": "x"}}}, "provenance.params.train: expected a mapping"),
    ],
)  # fmt: skip
def test_wrong_values_in_a_description_are_named(folder, values, message):
    change(folder, **values)
    assert message in refused(read_description, folder)


@pytest.mark.parametrize(
    ("head", "dim"),
    [
        (None, None),
        ({"type": "ArcFaceHead", "margin": 0.3}, None),
        ({"type": "LH2FaceHead", "vmf_dim": 64}, 64),
        ({"type": "LH2FaceHead"}, 256),  # the default of the class
        ({"type": "ShardedHead", "head": {"type": "LH2FaceHead", "vmf_dim": 6}}, 6),
        ({"type": "HeadOfAnotherPackage", "vmf_dim": 7}, 7),
        ({"type": ["HeadOfAnotherPackage"]}, None),
    ],
)
def test_the_vmf_dimension_is_read_from_the_head(folder, head, dim):
    change(folder, head=head)
    assert head_dim(folder) == dim


def test_an_onnx_model_has_no_vmf_dimension(folder):
    (folder / "model.onnx").touch()
    assert head_dim(folder) is None and head_dim(folder / "model.onnx") is None


@pytest.mark.parametrize("found", [1, 2.5, "64", True, [64]])
def test_an_invalid_vmf_dimension_is_named(folder, found):
    change(folder, head={"type": "LH2FaceHead", "vmf_dim": found})
    assert "head.vmf_dim: expected a whole number of at least 2, found" in refused(head_dim, folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "{}", '{"recognizer": 1}', "[" * 100_000, "\udcff", "1" * 5000],
    ids=range(10),
)
def test_a_damaged_description_is_named(folder, text):
    (folder / DESCRIPTION).write_text(text, errors="surrogateescape")
    for load in (read_description, load_model, load_reconstructor):
        assert "model.json: " in refused(load, folder)


def test_a_huge_description_is_refused_unread(folder):
    os.truncate(folder / DESCRIPTION, 1 << 40)
    with pytest.raises(ValueError, match=r"model\.json: expected at most 67108864 bytes"):
        read_description(folder)


def test_missing_permission_is_not_reported_as_a_missing_file(folder, monkeypatch):
    opened = Path.open

    def refuse(path, *arguments, **options):
        if path.name == WEIGHTS:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError):
        load_model(folder)


def test_weights_are_loaded_into_an_existing_model(fitted):
    model = build("reconstructor", RECONSTRUCTOR, "test")
    load_weights(model, fitted / RECONSTRUCTOR_WEIGHTS)
    saved = load_file(fitted / RECONSTRUCTOR_WEIGHTS)
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())
    other = build("reconstructor", {**RECONSTRUCTOR, "width": 8}, "test")
    with pytest.raises(ValueError, match="weights do not fit"):
        load_weights(other, fitted / RECONSTRUCTOR_WEIGHTS)


def test_a_linear_reconstructor_is_loaded(tmp_path):
    config = {"type": "Linear3DMMReconstructor", "image_size": 16, "width": 4, "shape_modes": 2}
    config |= {"albedo_modes": 2, "faces": 4}
    save_file(build("reconstructor", config, "t").state_dict(), tmp_path / RECONSTRUCTOR_WEIGHTS)
    (tmp_path / DESCRIPTION).write_text(json.dumps({"reconstructor": config}))
    assert load_reconstructor(tmp_path).image_size == 16
    (tmp_path / DESCRIPTION).write_text(json.dumps({"reconstructor": {**config, "faces": 10**9}}))
    assert "found 1000000000" in refused(load_reconstructor, tmp_path)


@pytest.mark.parametrize("changed", ["a/w.data", "b/w.data"])
def test_the_digest_covers_external_weights_of_an_onnx_file(tmp_path, changed):
    weights = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.data").write_bytes(np.zeros(4, np.float32).tobytes())
        tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[4])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"{name}/w.data")
        weights.append(tensor)
    graph = onnx.helper.make_graph([], "weights", [], [], weights)
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    before = model_digest(path)
    (tmp_path / changed).write_bytes(np.ones(4, np.float32).tobytes())
    assert model_digest(path) != before
