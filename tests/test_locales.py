"""With a locale and file names that are not UTF-8, every command gives a result or one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems have no names that are not UTF-8"
)
# Runs the commands of a JSON file in turn, and writes exit code and messages of each.
COMMANDS = """
import io, json, os, sys
from lh2face.cli import main

found = []
for command in json.load(open("commands.json", encoding="utf-8")):
    raw, before = io.BytesIO(), sys.stderr
    sys.argv = ["lh2face", *map(os.fsdecode, (part.encode("latin-1") for part in command))]
    said = sys.stderr = io.TextIOWrapper(raw, encoding=before.encoding, write_through=True)
    try:
        code = main() or 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException as error:
        code = repr(error)
    sys.stderr = before
    found.append([code, raw.getvalue().decode("latin-1")])
json.dump(found, open("found.json", "w", encoding="utf-8"))
"""
OVERLAY = """
workers: 1
sources: {p: {type: image_folder, path: photos, aligned: true, held_out: &half {fraction: 0.5}}}
benchmarks: {p: {type: image_folder, path: photos, aligned: true, held_out: *half}}
compare:
  {heads: [cosface], joint_heads: [], models: [untrained, cosface], seeds: [0], benchmarks: [p]}
train:
  options:
    model.backbone: {embedding_size: 8, image_size: 32, width: 0.1}
    train_dataloader.batch_size: 4
    train_cfg.max_epochs: 1
    param_scheduler: null
evaluate: {bootstrap: 4}
"""
LOCALES = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
}


def named(text: str) -> str:
    """Return a file name of these bytes, which are given as Latin-1 letters."""
    return os.fsdecode(text.encode("latin-1"))


def photos(root: Path) -> None:
    """Write photos of eight people; names of folders and files are not UTF-8."""
    rng = np.random.default_rng(0)
    for person in range(8):
        folder = root / named(f"p\xff\xc3\xa9{person}")
        folder.mkdir(parents=True)
        for photo in range(3):
            pixels = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (112, 112))
            path = folder / named(f"{photo}\xfe.jpg")
            path.write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    (folder / named("empty\xff.jpg")).touch()


@pytest.mark.parametrize("locale", LOCALES)
def test_commands_give_a_result_or_one_line(tmp_path, params_file, locale):
    root = tmp_path / named("ph\xfftos")
    photos(root)
    (tmp_path / "photos").symlink_to(root.name)
    (tmp_path / "over.yaml").write_text(OVERLAY, encoding="utf-8")
    lines = [f"{path} 0 {path.parent.name}" for path in sorted(root.rglob("*.jpg"))]
    (tmp_path / named("list\xff.txt")).write_bytes(os.fsencode("\n".join(lines)))
    # Bytes are written as Latin-1 letters, so that JSON can hold them.
    out, model = "o\xfft", "runs/untrained/0/model"
    commands = [
        ("params", "over.yaml"),
        ("records", "image_folder", "ph\xfftos", f"{out}/folder"),
        ("records", "magface_list", "list\xff.txt", f"{out}/list"),
        ("data", "p", f"{out}/raw"),
        ("align", f"{out}/raw", f"{out}/aligned"),
        ("benchmark", "p", f"{out}/bench"),
        ("align-benchmark", "p", f"{out}/bench", f"{out}/tested"),
        ("untrained", model, "--seed", "0"),
    ]
    wrong = {
        ("untrained", f"{out}/model", "--seed", "0"): "UTF-8",
        ("train", f"{out}/aligned", f"{out}/m", "--head=cosface", "--seed=0"): "UTF-8",
        ("export-onnx", model, "m\xff.onnx"): "UTF-8",
    }
    (tmp_path / "commands.json").write_text(json.dumps([*commands, *wrong]), encoding="utf-8")
    (tmp_path / "script.py").write_text(COMMANDS, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "LANG"}
    subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env={**environment, **LOCALES[locale]},
        check=True, stdout=subprocess.DEVNULL, timeout=240,
    )  # fmt: skip
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    for command, (code, said) in zip(commands, found, strict=False):
        assert code == 0, (command, code, said)
    for (command, words), (code, said) in zip(wrong.items(), found[len(commands) :], strict=True):
        lines = said.splitlines()
        assert code == 1 and len(lines) == 1 and words in lines[0], (command, code, said)
