"""Each result records its origin: commit, parameters, data and versions."""

import json
import subprocess

import pytest

from lh2face.artifacts import provenance as stage
from lh2face.artifacts.info import read_provenance
from lh2face.artifacts.provenance import provenance, write_provenance
from lh2face.files.digests import digest, digests
from lh2face.onnx.files import write_metadata

MADE = {"commit": "c", "seed": 3}


def git(folder, *command):
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True)


def test_provenance_has_the_commit_and_whether_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stage.commit() is None
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "a")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert stage.commit() == head.stdout.strip()
    (tmp_path / "new").write_text("not in git")
    assert stage.commit() == head.stdout.strip()
    (tmp_path / "a").write_text("2")
    assert stage.commit() == head.stdout.strip() + "+"


def test_digests_follow_contents_and_names(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / "f").write_text("same")
    assert digest(tmp_path / "x") == digest(tmp_path / "y")
    (tmp_path / "y" / "below" / "f").rename(tmp_path / "y" / "below" / "g")
    found = digests(tmp_path / "x", tmp_path / "y")
    assert found.keys() == {"x", "y"} and found["x"] != found["y"]
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "empty").touch()
    assert digest(tmp_path / "empty") == empty


def test_equal_parameters_have_one_digest():
    one, two = (provenance(params=p, data={}) for p in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert one["params_digest"] == two["params_digest"]
    assert provenance(params={"a": 1}, data={})["params_digest"] != one["params_digest"]
    assert one["versions"].keys() >= {"lh2face", "torch", "mmengine"} and one["device"]


def test_provenance_is_found_beside_metrics_in_models_and_in_onnx(tmp_path):
    import onnx

    write_provenance(tmp_path, MADE)
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text(json.dumps({"provenance": MADE}))
    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    write_metadata(tmp_path / "m.onnx", {"provenance": MADE})
    for path in (
        tmp_path, tmp_path / "metrics.json", tmp_path / "model",
        tmp_path / "model" / "model.safetensors", tmp_path / "m.onnx",
    ):  # fmt: skip
        assert read_provenance(path) == MADE, path


def test_a_file_without_provenance_is_named(tmp_path):
    import onnx

    with pytest.raises(ValueError, match=r"it has no provenance"):
        read_provenance(tmp_path)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=r"m\.onnx: it has no provenance"):
        read_provenance(tmp_path / "m.onnx")
    (tmp_path / "x.onnx").write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match=r"x\.onnx: not an ONNX file"):
        read_provenance(tmp_path / "x.onnx")


def test_the_command_prints_provenance(tmp_path):
    write_provenance(tmp_path, MADE)
    done = subprocess.run(["lh2face", "info", tmp_path], capture_output=True, text=True)
    assert json.loads(done.stdout) == MADE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b"{}", "it has no provenance"),
        (b'{"provenance": "me"}', "it has no provenance"),
    ],
)
@pytest.mark.parametrize("name", ["model.json", "provenance.json"])
def test_damaged_provenance_is_named(tmp_path, name, content, message):
    if name == "provenance.json" and b"me" in content:
        content = b'"me"'
        message = "expected a JSON object, found str"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_provenance(tmp_path)
    assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)


def test_onnx_metadata_of_other_programs_does_not_hide_provenance(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "m.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), path)
    write_metadata(path, {"provenance": MADE})
    model = onnx.load(path)
    model.metadata_props.add(key="author", value="no JSON")
    model.metadata_props.add(key="deep", value="[" * 100_000)
    onnx.save(model, path)
    assert read_provenance(path) == MADE
