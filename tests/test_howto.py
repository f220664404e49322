"""Each how-to page begins with its shortest sequence of commands, and these commands work."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lh2face.artifacts.model import model_digest, save_model
from lh2face.cli import app
from lh2face.data.synthetic.generate import SyntheticConfig, write_benchmark
from lh2face.registry import build

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = (ROOT / "tests" / "test_examples.py").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
BEGIN = re.compile(r"# [^\n]+\n\n```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SIZES = SyntheticConfig(benchmark_people=4, image_size=64, pairs=10, truth_images=0)
METRICS = {
    "kappa": {"mean": 8.0, "std": 1.0, "p5": 6.0},
    "single_images": {"source": "photos", "impostor": 5000, "threshold": {"0.01": 0.5}},
}
PARTS = ("plugin", "params", "examples", "workflow", "dvc.yaml", "Snakefile", ".dvcignore")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The files of a clone, with a model, a benchmark in the form of IJB-C and photos."""
    folder = tmp_path_factory.mktemp("clone")
    for name in PARTS:
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "params.yaml", folder)
    dvc(folder, "init", "--no-scm", "--quiet")
    write_benchmark(SIZES, folder / "IJBC", seed=0, workers=1)
    for path in (folder / "IJBC" / "meta").iterdir():
        path.rename(path.with_name(path.name.replace("bench_", "ijbc_")))
    torch.manual_seed(0)
    backbone = {"type": "MobileFaceNet", "embedding_size": 16, "width": 0.25, "image_size": 48}
    config = {"type": "FaceRecognizer", "backbone": backbone}
    (model := folder / "runs" / "lh2face" / "0" / "model").mkdir(parents=True)
    save_model(model, build("recognizer", config, "test"), config, {})
    (evaluation := model.parent / "evaluation" / "people").mkdir(parents=True)
    (evaluation / "metrics.json").write_text(json.dumps(METRICS))
    made = {"model": model_digest(model), "origin": "photos", "people": 200}
    (evaluation / "provenance.json").write_text(json.dumps(made))
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg", *(f"people/{who}/{n}.jpg" for who in "xyz" for n in range(2))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (112, 112, 3), np.uint8))
    return folder


def dvc(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(page: Path) -> list[str]:
    """Return the commands that a page begins with, without comments."""
    begin = BEGIN.match(page.read_text(encoding="utf-8"))
    assert begin, f"{page.name}: expected commands below its title"
    lines = begin[1].replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_first_commands_of_a_page_work(page, clone, monkeypatch):
    """Each command is run, except those that other tests run.

    ``dvc repro`` and ``snakemake`` take minutes, so only their stages are resolved. An example has
    to be one that test_examples.py runs, and ``lh2face demo`` is tested in a browser.
    """
    monkeypatch.chdir(clone)
    lines = commands(page)
    assert lines[0] == ". .venv/bin/activate" and len(lines) > 1
    for line in lines[1:]:
        program, *words = shlex.split(line, comments=True)
        if words[:1] == ["demo"]:
            assert Path(words[words.index("--model") + 1]).is_dir()
        elif program == "lh2face":
            done = CliRunner().invoke(app, words, catch_exceptions=False)
            assert done.exit_code == 0, done.output
        elif program in ("dvc", "snakemake"):
            assert program == "snakemake" or words == ["repro"]
            assert "train@" in dvc(clone, "stage", "list", "--name-only")
            for path in (words[words.index("--profile") + 1],) if "--profile" in words else ():
                assert (clone / path / "config.yaml").is_file()
        elif program == "python":
            # An example; test_examples.py has to run it.
            folder, name = words[0].split("/")
            assert folder == "examples" and f'run("{name}", ' in EXAMPLES
        else:
            assert program in ("cp", "echo")
            subprocess.run(["sh", "-c", line], check=True)
