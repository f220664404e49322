"""Dockerfile, Makefile, CITATION.cff and dvc.yaml are consistent with the repository."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
DAG = YAML(typ="safe").load(ROOT / "dvc.yaml")


def instructions() -> list[tuple[str, list[str]]]:
    """Return the instructions of the Dockerfile with their words; continued lines are joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = filter(None, text.replace("\\\n", " ").splitlines())
    found = (line.split(maxsplit=1) for line in lines)
    return [(name, shlex.split(rest.strip("[]").replace(",", " "))) for name, rest in found]


def test_the_container_copies_and_runs_existing_files():
    copied = [words[:-1] for name, words in instructions() if name == "COPY"]
    assert copied[-1] == ["."]
    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists(), path
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    comments = re.findall(r"^# docker run .* make (\w+)", (ROOT / "Dockerfile").read_text(), re.M)
    assert comments == ["reproduce", "test"] and set(comments) <= set(targets)
    ((_, (entry,)),) = (one for one in instructions() if one[0] == "ENTRYPOINT")
    assert (ROOT / entry).stat().st_mode & 0o111
    # .dockerignore leaves out no file that the image is built from.
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {path.split("/")[0] for paths in copied for path in paths} & set(ignored)


def test_the_container_copies_the_report_out(tmp_path):
    (tmp_path / "report").mkdir()
    script = (
        (ROOT / "workflow" / "docker-entrypoint").read_text().replace("/out", f"{tmp_path}/out")
    )
    (tmp_path / "out").mkdir()
    run = ["sh", "-c", script, "entry", "touch", "report/index.html"]
    subprocess.run(run, cwd=tmp_path, check=True)
    assert (tmp_path / "out" / "report" / "index.html").exists()
    # The container fails if the command fails.
    assert subprocess.run([*run[:4], "false"], cwd=tmp_path).returncode == 1


def test_the_dockerfile_passes_its_linter():
    linter = shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed")
    said = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_the_image_is_built_and_runs_the_command():
    """This takes minutes and gigabytes, so it is one of the slow tests."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no Docker daemon on this machine")
    subprocess.run([docker, "build", "--tag", "lh2face-test", ROOT], check=True)
    said = subprocess.run(
        [docker, "run", "--rm", "lh2face-test", "lh2face", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.startswith("lh2face ")


def test_the_software_and_the_paper_have_authors():
    cited = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert cited["authors"] and "version" in cited
    (paper,) = cited["references"]
    assert all({"given-names", "family-names"} <= set(author) for author in paper["authors"])
    assert paper["identifiers"][0]["value"] == "arXiv:2506.23555"


def test_make_help_lists_every_target():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^make ([\w-]+) ", said.stdout, re.MULTILINE))
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == set(declared[1].split())


def test_experiments_show_changed_parameters_and_the_chosen_figures():
    """DVC compares the names of columns with both expressions from their beginning."""
    said = subprocess.run(
        ["make", "--dry-run", "experiments"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    words = shlex.split(said.stdout.replace("\\\n", " "))
    drop, keep = (words[words.index(option) + 1] for option in ("--drop", "--keep"))
    metrics = "runs/{}/0/evaluation/people/metrics.json:verification.tar.0.001"
    for column in ("evaluate.seed", "params.yaml:train.options", metrics.format("lh2face")):
        assert re.match(keep, column) or not re.match(drop, column), column
    for column in (metrics.format("arcface"), "plugin/lh2face/text.py", "steps", "data/code"):
        assert not re.match(keep, column) and re.match(drop, column), column


def test_artifacts_and_plots_of_dvc_are_outputs_of_the_default_run():
    from dvc.repo import Repo

    outs = {out.def_path for stage in Repo(ROOT).index.stages for out in stage.outs}
    curves = [path for plot in DAG["plots"] for one in plot.values() for path in one["y"]]
    assert len(curves) == len(set(curves)) and set(curves) <= outs
    # Each plot has every head of the default run.
    for plot in DAG["plots"]:
        ((name, one),) = plot.items()
        kind = {path.rsplit("/", 1)[1] for path in one["y"]}
        (file,) = kind
        expected = {path for path in outs if path.endswith(f"0/evaluation/people/{file}")}
        assert set(one["y"]) == expected, name
    assert {one["path"] for one in DAG["artifacts"].values()} <= outs


def test_dvc_gets_a_model_by_name(tmp_path):
    """docs/pipeline.md describes this: the model is committed and has an annotated tag."""

    def run(*words: str) -> None:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    dvc = (sys.executable, "-m", "dvc")
    path = DAG["artifacts"]["lh2face"]["path"]
    stage = {"cmd": f"mkdir -p {path} && echo w > {path}/weights", "outs": [path]}
    small = {"stages": {"train": stage}, "artifacts": DAG["artifacts"]}
    YAML().dump(small, tmp_path / "dvc.yaml")
    run("git", "init", "--quiet")
    run(*dvc, "init", "--quiet")
    run(*dvc, "repro", "--quiet")
    run("git", "add", "--all")
    run(*git, "commit", "--quiet", "--message", "Trained")
    run(*git, "tag", "--annotate", "lh2face@v0.1.0", "--message", "first")
    run(*dvc, "artifacts", "get", ".", "lh2face", "--out", "got")
    assert (tmp_path / "got" / "weights").read_text() == "w\n"
