"""An import loads and changes only what it needs."""

import subprocess
import sys

import pytest

PIPELINE = {"dvc", "jinja2", "pandas", "plotly", "pydantic", "ruamel", "snakemake"}
OPTIONAL = {"insightface", "matplotlib", "onnx", "onnxruntime", "scipy", "timm"}
HEAVY = {"PIL", "cv2", "mmengine", "torch", *PIPELINE, *OPTIONAL}
# Modules of mathematics, text and files, and the heavy packages that each of them may load.
LIGHT = {
    "lh2face": set(),
    "lh2face.arguments": set(),
    "lh2face.files.outputs": set(),
    "lh2face.artifacts.provenance": set(),
    "lh2face.cli": set(),
    "lh2face.files.tables": set(),
    "lh2face.data.ijb_meta": set(),
    "lh2face.data.manifest": set(),
    "lh2face.data.recordio": set(),
    "lh2face.data.verification_bin": set(),
    "lh2face.progress": set(),
    "lh2face.text": set(),
    "lh2face.data.align": {"cv2"},
    "lh2face.data.images": {"PIL", "cv2"},
    "lh2face.detection": {"PIL", "cv2"},
    "lh2face.functional.margins": {"torch"},
    "lh2face.functional.vmf": {"torch"},
}
HELP = """
import sys
from lh2face import cli
sys.argv = ["lh2face", *{arguments}, "--help"]
try:
    cli.main()
except SystemExit as end:
    assert end.code == 0
"""
LOADED = "\nimport sys; print('loaded', *{name.partition('.')[0] for name in sys.modules})"
BUILDS = """
from mmengine.registry import HOOKS, MODELS, TRANSFORMS
assert MODELS.get("LH2FaceHead") and HOOKS.get("ShardedCheckpointHook")
assert TRANSFORMS.get("TurnedFaces")
from torch.serialization import get_safe_globals
assert get_safe_globals()
"""
# Runs scripts one after another, each in a process of its own that has loaded PyTorch alone.
EACH = """
import os, sys, torch
for script in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        exec(script, {})
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"failed: {script}")
"""


def python(script: str, *arguments: str) -> str:
    """Return the output of a script that runs in another process."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(script: str) -> set[str]:
    """Return the heavy packages that a script loads."""
    return HEAVY & set(python(script + LOADED).rpartition("loaded")[2].split())


@pytest.mark.parametrize(("module", "allowed"), LIGHT.items(), ids=LIGHT)
def test_a_light_module_loads_no_heavy_package(module, allowed):
    assert loaded(f"import {module}") <= allowed


@pytest.mark.parametrize("arguments", [[], ["train"], ["evaluate-ijb"]], ids=str)
def test_help_loads_no_heavy_package(arguments):
    # typer itself loads pydantic if it is installed.
    assert loaded(HELP.format(arguments=arguments)) <= {"pydantic"}


def test_registering_loads_nothing_of_the_pipeline():
    assert loaded("import lh2face.register").isdisjoint(PIPELINE | {"insightface", "timm"})


def test_a_light_module_changes_no_other_package():
    script = """
import torch
before = torch.serialization.get_safe_globals()
import lh2face.progress, lh2face.functional.vmf, lh2face.evaluation.roc
assert torch.serialization.get_safe_globals() == before
import sys
print("mmengine" in sys.modules)
"""
    assert python(script) == "False\n"


def test_a_config_that_imports_the_package_finds_its_classes(tmp_path):
    scripts = []
    for name in ("lh2face", "lh2face.register"):
        config = tmp_path / f"{name}.config.py"
        config.write_text(f"custom_imports = dict(imports=[{name!r}])\n", encoding="utf-8")
        read = f"from mmengine.config import Config\nConfig.fromfile({str(config)!r})\n"
        scripts += [read + BUILDS, "import mmengine\n" + read + BUILDS]
    python(EACH, *scripts)


def test_register_works_after_a_light_module():
    python("import lh2face.text\nimport mmengine, lh2face.register\n" + BUILDS)


def test_a_class_finds_the_classes_that_it_builds_by_name():
    python(
        EACH,
        "from lh2face.heads import LH2FaceHead; LH2FaceHead(num_classes=3, in_channels=8)",
        "from lh2face.recognizers import FaceRecognizer\n"
        "FaceRecognizer(backbone=dict(type='MobileFaceNet', embedding_size=8, image_size=32))",
        "from lh2face.reconstruction import Unsup3DReconstructor\n"
        "Unsup3DReconstructor(image_size=32)",
    )


def test_each_module_can_be_imported_first():
    modules = (
        "training.sharded_checkpoints", "training.checkpoints", "heads.arcface", "data.datasets",
        "registry",
    )  # fmt: skip
    python(EACH, *(f"import lh2face.{module}" for module in modules))
