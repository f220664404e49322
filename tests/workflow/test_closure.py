"""Each stage of dvc.yaml depends on exactly the files of the package that it imports."""

import re
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lh2face.data.benchmarks import BENCHMARKS
from lh2face.data.training_sources import TRAINING_SOURCES
from lh2face.detection import DETECTORS

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
        if name == "code":
            assert str(closure.ROOT) in stage["deps"]
            continue
        ours = {path for path in stage["deps"] if path.startswith(str(closure.ROOT))}
        said = f"{name}: run `python workflow/closure.py --write`"
        assert ours == set(closure.expected([name])[name]), said


@pytest.mark.parametrize("stage", ["train", "joint"])
def test_training_watches_its_head_through_stage_code(closure, stage):
    deps = closure.stages()[stage]["deps"]
    assert "data/code/heads/${item.head}.json" in deps
    assert not [path for path in deps if "lh2face/heads" in path or "lh2face/backbones" in path]


def test_stage_code_writes_what_the_other_stages_watch(closure):
    """And each type of a source or benchmark is found."""
    watched = {
        path.removeprefix("data/code/").removesuffix(".json")
        for stage in closure.stages().values()
        for path in stage["deps"]
        if path.startswith("data/code/")
    }
    entry = {"sources": "${key}", "benchmarks": "${key}", "validation": "${key}"}
    entries = {f"{section}/{key}" for section, key in entry.items()} | {"heads/${item.head}"}
    assert watched == {*entries, "network", "reconstructor"}
    written = {re.sub("/.*", "", name) for name in closure.code(params())}
    assert written == {re.sub("/.*", "", name) for name in watched}
    assert closure.types(closure.TYPES["sources"]).keys() == TRAINING_SOURCES.keys()
    assert closure.types(closure.TYPES["benchmarks"]).keys() == BENCHMARKS.keys()


def test_a_heads_file_is_a_dependency_of_its_own_models_only(closure):
    code = closure.code(params())
    found = {name: names(code[f"heads/{name}"]) for name in ("arcface", "cosface")}
    assert {"heads/arcface.py", "heads/proxy_head.py"} <= found["arcface"]
    assert found["arcface"].isdisjoint({"heads/cosface.py", "heads/lh2face.py"})
    assert found["arcface"] - {"heads/arcface.py"} == found["cosface"] - {"heads/cosface.py"}
    common = {"backbones/mobilefacenet.py", "data/datasets.py", "data/recordio.py"}
    assert common <= found["arcface"] and "backbones/iresnet.py" not in found["arcface"]
    assert {"configs/small.py", "configs/recognition.py"} <= found["arcface"]
    assert "configs/mmpretrain.py" not in found["arcface"]
    for other in ("network", "reconstructor", "sources/people", "benchmarks/people"):
        assert not [file for file in names(code[other]) if file.startswith("heads/")], other


def test_a_type_in_the_options_is_a_dependency(closure):
    changed = params()
    changed["train"]["options"] = {"model.backbone.type": "IResNet"}
    code = closure.code(changed)
    for name in ("heads/arcface", "network"):
        assert "backbones/iresnet.py" in names(code[name])
    assert "reconstruction/unsup3d.py" not in names(code["reconstructor"])
    changed["fit3d"]["options"] = {"model.reconstructor": {"type": "Unsup3DReconstructor"}}
    assert "reconstruction/unsup3d.py" in names(closure.code(changed)["reconstructor"])


def test_with_fusion_the_network_needs_the_reconstructor(closure):
    changed = params()
    assert "reconstruction/base.py" not in names(closure.code(changed)["network"])
    changed["joint"]["fusion"] = "canonical"
    assert "reconstruction/base.py" in names(closure.code(changed)["network"])


def test_an_entry_of_a_section_watches_its_own_type(closure):
    changed = params()
    changed["benchmarks"]["lfw"] = {"type": "bin", "path": "lfw.bin"}
    changed["sources"]["ms1m"] = {"type": "records", "path": "ms1m"}
    code = {name: names(files) for name, files in closure.code(changed).items()}
    assert "data/benchmarks/bins.py" in code["benchmarks/lfw"]
    assert "data/benchmarks/synthetic.py" not in code["benchmarks/lfw"]
    assert "data/training_sources/records.py" in code["sources/ms1m"]
    assert "data/training_sources/synthetic.py" not in code["sources/ms1m"]
    assert "data/benchmarks/bins.py" not in code["benchmarks/people"]
    for detects in ("benchmarks/lfw", "sources/ms1m", "benchmarks/people", "sources/people"):
        assert not [file for file in code[detects] if file.startswith("detection/")], detects


NEW_FILES = {
    "head": ("heads", "cosface", "CosFaceHead", "from lh2face.heads.new import New\n"),
    "backbone": (
        "backbones", "mobilefacenet", "MobileFaceNet", "from lh2face.backbones.new import New\n",
    ),
    "reconstructor": (
        "reconstruction", "unsup3d", "Unsup3DReconstructor",
        "from lh2face.reconstruction.new import New\n",
    ),
    "source": (
        "data/training_sources", "records", "Records",
        "from lh2face.data.training_sources.new import New\nTRAINING_SOURCES['new'] = New\n",
    ),
    "benchmark": (
        "data/benchmarks", "bins", "Bin",
        "from lh2face.data.benchmarks.new import New\nBENCHMARKS['new'] = New\n",
    ),
    "detector": (
        "detection", "insightface", "Insightface",
        "from lh2face.detection.new import New\nDETECTORS['new'] = New\n",
    ),
    "transform": (
        "augmentation", "turned", "TurnedFaces", "from lh2face.augmentation.new import New\n",
    ),
    # Folders of which some stage reads every file.
    "recognizer": (
        "recognizers", "face_recognizer", "FaceRecognizer",
        "from lh2face.recognizers.new import New\n",
    ),
    "plot": ("report", "plots", "nothing", "from lh2face.report.new import roc\n"),
}  # fmt: skip
# Besides the entries of params.yaml, one that detects faces and one that does not.
PHOTOS = {"type": "image_folder", "path": "photos"}


@pytest.mark.parametrize(("room", "like", "cls", "line"), NEW_FILES.values(), ids=NEW_FILES)
def test_something_new_makes_no_stage_stale(copied, room, like, cls, line):
    """What was made before does not depend on a new file, nor on the line that registers it."""
    used = params()
    used["sources"] |= {"mtcnn": {**PHOTOS, "detector": {"type": "mtcnn"}}, "listed": PHOTOS}
    used["train"]["options"] = {"train_dataloader.dataset.pipeline": [{"type": "RandomBlur"}]}

    def watched():
        for cached in (copied.tree, copied.registered, copied.read_by):
            cached.cache_clear()
        code = copied.code(used)
        paths = {Path(path) for deps in copied.expected(copied.stages()).values() for path in deps}
        every = set().union(
            *code.values(),
            *(path.rglob("*.*") if path.is_dir() else [path] for path in paths),
        )
        return code, {path: path.read_bytes() for path in every}

    before = watched()
    folder = copied.ROOT / room
    text = (folder / f"{like}.py").read_text(encoding="utf-8").replace(cls, "New")
    (folder / "new.py").write_text(text, encoding="utf-8")
    with (folder / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(line)
    assert watched() == before


def test_a_detector_is_watched_where_it_is_named(closure):
    changed = params()
    changed["sources"] = {
        "listed": PHOTOS,
        "mtcnn": {**PHOTOS, "detector": {"type": "mtcnn"}},
        "own": {**PHOTOS, "detector": {"type": "insightface", "path": "det_10g.onnx"}},
    }
    code = {name: names(files) for name, files in closure.code(changed).items()}
    common = code["sources/listed"]
    assert "detection/faces.py" in common
    assert {"detection/mtcnn.py", "detection/insightface.py"}.isdisjoint(common)
    assert code["sources/mtcnn"] - common == {
        "detection/mtcnn.py",
        "onnx/session.py",
        "onnx/files.py",
    }
    assert "detection/insightface.py" in code["sources/own"] - code["sources/mtcnn"]
    assert closure.types(closure.DETECTORS).keys() == DETECTORS.keys()


def test_a_page_is_watched_with_the_code_that_fills_it(closure):
    assert f"{closure.ROOT}/report/templates" in closure.expected(["report"])["report"]


def test_a_new_head_is_watched_where_it_is_named(copied):
    heads = copied.ROOT / "heads"
    text = (heads / "cosface.py").read_text(encoding="utf-8").replace("CosFaceHead", "NewHead")
    (heads / "new.py").write_text(text, encoding="utf-8")
    for cached in (copied.tree, copied.registered, copied.read_by):
        cached.cache_clear()
    changed = params()
    changed["heads"]["arcface"]["type"] = "NewHead"
    assert heads / "new.py" in copied.code(changed)["heads/arcface"]


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("train", "data/recordio.py"), ("train", "artifacts/model.py"),
        ("train", "distributed/collectives.py"), ("align", "data/recordio.py"),
        ("embed", "recognizers/preprocessor.py"),
    ],
)  # fmt: skip
def test_dependencies_that_were_once_missing_are_found(closure, stage, file):
    assert file in names(closure.stage_files(stage, closure.stages()[stage]["cmd"]))


def test_what_was_once_missed_of_what_the_parameters_name(closure):
    changed = params()
    changed["benchmarks"]["lfw"] = {"type": "bin", "path": "lfw.bin"}
    code = {name: names(files) for name, files in closure.code(changed).items()}
    assert "data/verification_bin.py" in code["benchmarks/lfw"]
    assert {"rendering/depth_mesh.py", "data/datasets.py"} <= code["reconstructor"]
    assert "data/datasets.py" in code["heads/lh2face"]


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
