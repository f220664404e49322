"""Nothing here runs what a file or a name says, nor reaches the network."""

import ast
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from ruamel.yaml import YAML

from lh2face.data.image_folder import convert
from lh2face.stages import align
from lh2face.stages.params import ParamsError, load_params

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "plugin").rglob("*.py"), *(ROOT / "workflow").glob("*.py")])
# Calls that run code out of a file or a string, or write where an archive says.
FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "os.system", "os.popen", "eval", "exec",
    "subprocess.getoutput", "yaml.unsafe_load", "joblib.load", "tarfile.open",
    "shutil.unpack_archive",
}  # fmt: skip
NETWORK = {"requests", "urllib", "http", "socketserver", "ftplib", "aiohttp", "boto3"}


def calls(source: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(source.read_text())
    return [(ast.unparse(n.func), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]


def keywords(call: ast.Call) -> dict[str, str]:
    return {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_call_trusts_a_file_or_a_string(source):
    for name, call in calls(source):
        given = keywords(call)
        assert name not in FORBIDDEN and not name.endswith(".extractall"), name
        assert given.get("shell", "False") == "False", ast.unparse(call)
        assert given.get("allow_pickle", "False") == "False", ast.unparse(call)
        assert given.get("weights_only", "True") == "True", ast.unparse(call)
        assert not name.endswith("YAML") or given.get("typ", "'rt'") in ("'rt'", "'safe'")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_knows_the_network(source):
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
        "..x",
        "a|b",
    ]
    rng = np.random.default_rng(0)
    for name in names:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 255, (112, 112, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "photos" / name / f"{i}.png"), pixels)
    raw = tmp_path / "raw"
    convert(tmp_path / "photos", raw, aligned=True, landmarks=None, benchmark_fraction=0.5, seed=0)
    align.run(load_params(ROOT / "params.yaml"), raw, tmp_path / "aligned")
    assert (tmp_path / "aligned" / "train" / "property").read_text().startswith("4,")
    assert not list(tmp_path.rglob("owned")) and not Path("owned").exists()


@pytest.mark.parametrize("name", ["x; touch owned", "$(touch owned)", "a/b", "a b", ""])
def test_a_name_that_becomes_a_command_is_plain(tmp_path, name):
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["compare"]["heads"][0] = name
    yaml.dump(values, tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match=r"compare\.heads\.0: String should match pattern"):
        load_params(tmp_path / "params.yaml")


def test_commands_quote_the_names(tmp_path):
    # A shell reads a command before anything can check params.yaml.
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
