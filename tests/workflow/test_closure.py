"""Each stage of dvc.yaml depends on exactly the files of the package that it imports."""

import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]


def load():
    """Import the script anew, because it caches the files that it has read."""
    spec = spec_from_file_location("closure", ROOT / "workflow" / "closure.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def loaded():
    return load()


@pytest.fixture
def closure(loaded, monkeypatch):
    """The script, run in the folder of the project."""
    monkeypatch.chdir(ROOT)
    return loaded


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """The script, run in a copy of the project that a test may change."""
    shutil.copytree(ROOT / "plugin", tmp_path / "plugin", ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return load()


def params():
    return YAML(typ="safe").load(ROOT / "params.yaml")


def names(files):
    return {"/".join(path.parts[2:]) for path in files}


def test_each_stage_depends_on_the_files_that_it_reads(closure):
    for name, stage in closure.stages().items():
        ours = {path for path in stage["deps"] if path.startswith(str(closure.ROOT))}
        said = f"{name}: run `python workflow/closure.py --write`"
        assert ours == set(closure.expected([name])[name]), said


@pytest.mark.parametrize("stage", ["train", "joint"])
def test_training_watches_its_head_through_the_parts(closure, stage):
    deps = closure.stages()[stage]["deps"]
    assert "data/parts/${item.head}.json" in deps
    assert not [path for path in deps if "lh2face/heads" in path or "lh2face/backbones" in path]


def test_a_heads_file_is_a_dependency_of_its_own_models_only(closure):
    found = {name: names(closure.parts(name, params())) for name in ("arcface", "cosface")}
    assert {"heads/arcface.py", "heads/proxy_head.py"} <= found["arcface"]
    assert found["arcface"].isdisjoint({"heads/cosface.py", "heads/lh2face.py"})
    assert found["arcface"] - {"heads/arcface.py"} == found["cosface"] - {"heads/cosface.py"}
    common = {"backbones/mobilefacenet.py", "data/datasets.py", "data/recordio.py"}
    assert common <= found["arcface"] and "backbones/iresnet.py" not in found["arcface"]
    assert {"configs/small.py", "configs/recognition.py"} <= found["arcface"]
    assert "configs/mmpretrain.py" not in found["arcface"]


def test_a_type_in_the_options_is_a_dependency(closure):
    changed = params()
    changed["train"]["options"] = {"model.backbone.type": "IResNet"}
    assert "backbones/iresnet.py" in names(closure.parts("arcface", changed))


def test_a_new_head_changes_the_parts_of_no_other(copied):
    before = copied.parts("arcface", params())
    heads = copied.ROOT / "heads"
    text = (heads / "cosface.py").read_text(encoding="utf-8").replace("CosFaceHead", "NewHead")
    (heads / "new.py").write_text(text, encoding="utf-8")
    listing = heads / "__init__.py"
    added = "from lh2face.heads.new import NewHead\n"
    listing.write_text(listing.read_text(encoding="utf-8") + added, encoding="utf-8")
    for cached in (copied.tree, copied.registered, copied.read_by):
        cached.cache_clear()
    assert copied.parts("arcface", params()) == before
    changed = params()
    changed["heads"]["arcface"]["type"] = "NewHead"
    assert heads / "new.py" in copied.parts("arcface", changed)


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("train", "data/recordio.py"), ("train", "artifacts/model.py"),
        ("train", "distributed/collectives.py"), ("align", "data/recordio.py"),
        ("align_benchmark", "data/verification_bin.py"), ("embed", "recognizers/preprocessor.py"),
        ("fit3d", "rendering/depth_mesh.py"), ("fit3d", "data/datasets.py"),
        ("parts", "data/datasets.py"),
    ],
)  # fmt: skip
def test_dependencies_that_were_once_missing_are_found(closure, stage, file):
    assert file in names(closure.stage_files(stage, closure.stages()[stage]["cmd"]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f():\n    from lh2face.data.images import decode_rgb", "data/images.py"),
        ("import lh2face.text", "text.py"),
        ("from lh2face.rendering import DepthMeshRenderer", "rendering/depth_mesh.py"),
        ("from lh2face.data import images", "data/images.py"),
        ("x = dict(type='RecordFaces')", "data/datasets.py"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import lh2face.text", None),
        ("import lh2face.register", None),
        ("'RecordFaces'", None),
    ],
)
def test_what_counts_as_reading_a_file(copied, text, found):
    path = copied.ROOT / "sample.py"
    path.write_text(text + "\n", encoding="utf-8")
    assert names(copied.read_by(path)) == ({found} if found else set())
