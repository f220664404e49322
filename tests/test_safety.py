"""No file and no name makes the project run code, and no module uses the network."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file

from lh2face.artifacts.model import load_model, load_reconstructor, read_reconstructor
from lh2face.cli import main
from lh2face.data.manifest import read_manifest
from lh2face.params import Params, ParamsError, load_params, overlay_params
from lh2face.registry import MODELS
from lh2face.stages import align, align_benchmark, benchmark, data
from workflow.study.synthetic.plan import load_plan

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "plugin").rglob("*.py"), *(ROOT / "workflow").rglob("*.py")])
# Calls that run code out of a file or a string, or write to paths out of an archive.
FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "os.system", "os.popen", "eval", "exec",
    "subprocess.getoutput", "yaml.unsafe_load", "joblib.load",
    "shutil.unpack_archive",
}  # fmt: skip
NETWORK = {"requests", "urllib", "http", "socketserver", "ftplib", "aiohttp", "boto3"}


def calls(source: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return [(ast.unparse(n.func), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]


def keywords(call: ast.Call) -> dict[str, str]:
    return {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_call_runs_code_out_of_a_file_or_a_string(source):
    for name, call in calls(source):
        given = keywords(call)
        assert name not in FORBIDDEN and not name.endswith((".extract", ".extractall")), name
        assert given.get("shell", "False") == "False", ast.unparse(call)
        assert given.get("allow_pickle", "False") == "False", ast.unparse(call)
        assert given.get("weights_only", "True") == "True", ast.unparse(call)
        assert not name.endswith("YAML") or given.get("typ", "'rt'") in ("'rt'", "'safe'")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_network_libraries(source):
    for node in ast.walk(ast.parse(source.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & NETWORK


def test_an_identity_may_have_any_name(tmp_path):
    names = [
        "; touch owned",
        "$(touch owned)",
        "`touch owned`",
        "a'b\"c",
        "--help",
        "ü 名前",
        "x..",
        "a|b",
    ]
    rng = np.random.default_rng(0)
    for name in names:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 255, (112, 112, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "photos" / name / f"{i}.png"), pixels)
    values = load_params(ROOT / "params.yaml").model_dump()
    config = {"type": "image_folder", "path": str(tmp_path / "photos"), "aligned": True}
    held_out = {"fraction": 0.5}
    values["sources"] = {"it": {**config, "held_out": held_out}}
    values["benchmarks"] = {"it": {**config, "held_out": held_out}}
    values["compare"]["benchmarks"] = ["it"]
    params = Params.model_validate(values)
    data.run(params, "it", tmp_path / "raw")
    align.run(params, tmp_path / "raw", tmp_path / "train")
    assert read_manifest(tmp_path / "train").identities == 4
    benchmark.run(params, "it", tmp_path / "raw_benchmark")
    align_benchmark.run(params, "it", tmp_path / "raw_benchmark", tmp_path / "benchmark")
    assert not list(tmp_path.rglob("owned")) and not Path("owned").exists()


@pytest.mark.parametrize("name", ["x; touch owned", "$(touch owned)", "a/b", "a b", ""])
def test_names_that_become_part_of_a_command_are_restricted(tmp_path, name):
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["compare"]["heads"][0] = name
    yaml.dump(values, tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match=r"compare\.heads\.0: String should match pattern"):
        load_params(tmp_path / "params.yaml")


def test_commands_quote_the_names(tmp_path):
    # A shell parses a command before anything can check params.yaml.
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    path, yaml = tmp_path / "clone" / "params.yaml", YAML()
    values = yaml.load(path)
    values["compare"]["heads"] = ["x; touch owned"]
    values["compare"]["models"] = ["x; touch owned"]
    values["heads"]["x; touch owned"] = {"type": "CosFaceHead"}
    yaml.dump(values, path)
    from dvc.repo import Repo

    with Repo(tmp_path / "clone") as repo:
        commands = [stage.cmd for stage in repo.index.stages if "owned" in stage.cmd]
    assert len(commands) >= 3
    for command in commands:
        words = subprocess.run(
            ["sh", "-c", f"for word in {command}; do echo \"$word\"; done"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert "x; touch owned" in words and "\ntouch\n" not in words


# Each of these configs would create the file "owned" if it were built.
HARM = [
    {"type": "os.system", "command": "touch owned"},
    {"type": "subprocess.Popen", "args": ["touch", "owned"]},
    {"type": "builtins.eval", "source": "open('owned', 'w')"},
    {"type": "pathlib.Path.touch", "self": "owned"},
    # mmengine imports SCOPE.registry.
    {"type": "CosFaceHead", "num_classes": 2, "_scope_": "trap"},
    # mmengine would call torch.load on any file or address.
    {"type": "Pretrained", "checkpoint": "owned.pth"},
]
BACKBONE = {"type": "MobileFaceNet", "embedding_size": 8, "image_size": 32, "width": 0.25}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a package ``trap``, whose import creates the file "owned"."""
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "__init__.py").touch()
    (tmp_path / "trap" / "registry.py").write_text("open('owned', 'w').close()")
    (tmp_path / "plugin").symlink_to(ROOT / "plugin")  # recipes that the parameters name
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trap", raising=False)
    yield tmp_path
    assert not (tmp_path / "owned").exists()


def test_mmengine_alone_runs_these_configs(tmp_path, monkeypatch):
    # So the tests below guard against a real danger.
    monkeypatch.chdir(tmp_path)
    MODELS.build(dict(HARM[0]))
    assert (tmp_path / "owned").exists()


def recognizers(harm: dict) -> dict[str, dict]:
    """Return descriptions of a recognizer, each with a config in another place."""
    good = {"type": "FaceRecognizer", "backbone": BACKBONE}
    reconstructor = {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}
    return {
        "recognizer": harm,
        "backbone": {**good, "backbone": {**harm, "image_size": 32, "embedding_size": 8}},
        "head": {**good, "head": harm},
        "proxies": {**good, "head": {"type": "CosFaceHead", "num_classes": 2, "proxies": harm}},
        "sharded": {**good, "head": {"type": "ShardedHead", "num_classes": 2, "head": harm}},
        "reconstructor": {**good, "reconstructor": harm},
        "renderer": {**good, "reconstructor": {**reconstructor, "renderer": harm}},
        "data_preprocessor": {**good, "data_preprocessor": harm},
        "init_cfg": {**good, "init_cfg": harm},
        "init_cfgs": {**good, "init_cfg": [harm]},
    }


@pytest.mark.parametrize("place", recognizers({}))
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm["type"])
def test_a_models_description_runs_nothing(folder, harm, place):
    recognizer = recognizers(harm)[place]
    description = {"recognizer": recognizer, "image_size": 32, "embedding_size": 8}
    (folder / "model.json").write_text(json.dumps(description))
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.json: recognizer.*(found|allowed|unknown)"):
        load_model(folder)


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm["type"])
def test_a_reconstructors_description_runs_nothing(folder, harm):
    good = {"type": "Unsup3DReconstructor", "image_size": 16, "width": 4}
    save_file({"x": torch.zeros(1)}, folder / "reconstructor.safetensors")
    for config in (harm, {**good, "renderer": harm}, {**good, "renderer": {"_scope_": "trap"}}):
        (folder / "model.json").write_text(json.dumps({"reconstructor": config}))
        # Joint training reads only the config, which mmengine builds.
        for load in (load_reconstructor, read_reconstructor):
            with pytest.raises(
                ValueError, match=r"model\.json: reconstructor.*(found|not allowed)"
            ):
                load(folder)


def overlays(harm: dict) -> dict[str, dict]:
    """Return overlays, each with a config in another place of the parameters."""
    return {
        "heads": {"heads": {"cosface": harm}},
        "proxies": {"heads": {"cosface": {"type": "CosFaceHead", "proxies": harm}}},
        "sharded": {"heads": {"cosface": {"type": "ShardedHead", "head": harm}}},
        "backbone": {"train": {"backbone": {**harm, "embedding_size": 8}}},
        "optimizer": {"train": {"optimizer": harm}},
        "reconstructor": {"fit3d": {"options": {"model.reconstructor": harm}}},
        "renderer": {"fit3d": {"options": {"model.reconstructor.renderer": harm}}},
    }


@pytest.mark.parametrize("place", overlays({}))
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm["type"])
def test_parameters_run_nothing(folder, harm, place):
    text = (ROOT / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text)
    YAML().dump(overlays(harm)[place], folder / "overlay.yaml")
    with pytest.raises(ParamsError, match=r"overlay\.yaml, applied to .*(found|unknown|allowed)"):
        overlay_params([folder / "overlay.yaml"], folder / "params.yaml")
    assert (folder / "params.yaml").read_text() == text


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm["type"])
def test_a_plan_of_the_study_runs_nothing(folder, harm):
    yaml = YAML(typ="safe")
    for section, name in (("candidates", "cosface"), ("variants", "no_margin")):
        values = yaml.load(ROOT / "workflow" / "study" / "synthetic" / "ci.yaml")
        values[section][name] = [harm] if section == "candidates" else harm
        yaml.dump(values, folder / "plan.yaml")
        with pytest.raises(ParamsError, match=rf"{section}\.{name}.*(found|unknown)"):
            load_plan(folder / "plan.yaml")


def test_classes_of_a_module_that_the_user_names_are_accepted(folder, monkeypatch, capsys):
    (folder / "own_heads.py").write_text(
        "from lh2face.heads import CosFaceHead\n"
        "from lh2face.registry import MODELS\n"
        "MODELS.register_module(name='OwnImportedHead', module=CosFaceHead)\n"
    )
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (folder / "overlay.yaml").write_text("heads: {own: {type: OwnImportedHead, scale: 20}}")

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["lh2face", *arguments, "params", "overlay.yaml"])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().err

    try:
        assert "heads.own.type: found 'OwnImportedHead'" in run()
        assert "No module named 'absent'" in run("--import", "absent")
        assert run("--import", "own_heads") == ""
        # dvc, snakemake and torchrun start stages with this variable.
        MODELS.module_dict.pop("OwnImportedHead")
        sys.modules.pop("own_heads")
        monkeypatch.setitem(os.environ, "LH2FACE_IMPORT", "own_heads")
        assert run() == ""
    finally:
        MODELS.module_dict.pop("OwnImportedHead", None)
        sys.modules.pop("own_heads", None)
