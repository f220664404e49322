"""Snakemake runs the stages whose inputs changed in content, whatever their time stamps are."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dvc.repo.index import Index

ROOT = Path(__file__).resolve().parents[2]
# Each stage writes a line into a file that is not tracked, so that a test sees what ran.
DVC_YAML = """
stages:
  letters:
    cmd: echo letters >> ran; sort letters.txt > sorted.txt
    deps: [letters.txt]
    outs: [sorted.txt]
  copy:
    matrix: {name: [a, b]}
    cmd: echo copy-${item.name} >> ran; mkdir -p out/${item.name}; cp sorted.txt out/${item.name}
    deps: [sorted.txt]
    params: ["${item.name}"]
    outs: ["out/${item.name}"]
  join:
    cmd: echo join >> ran; cat out/a/* out/b/* > joined.txt
    deps: [out]
    outs: [joined.txt]
"""


@pytest.fixture
def project(made, tmp_path):
    """A copy of the project with new time stamps."""
    return shutil.copytree(made, tmp_path / "project", copy_function=shutil.copyfile)


@pytest.fixture(scope="module")
def made(tmp_path_factory, snakefile):
    """A repository with DVC and git, whose stages have run under Snakemake."""
    folder = tmp_path_factory.mktemp("made")
    files = {
        "dvc.yaml": DVC_YAML, "Snakefile": snakefile, "params.yaml": "a: 1\nb: 1\n",
        "letters.txt": "b\na\n", ".gitignore": "ran\nlog\n.snakemake\nout\n",
        ".dvcignore": (ROOT / ".dvcignore").read_text(),
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    assert ran(folder) == ["copy-a", "copy-b", "join", "letters"]
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "all")
    return folder


def run(folder: Path, *command: str) -> str:
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        command,
        cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    log = folder / "log"
    said = done.stdout + done.stderr
    assert done.returncode == 0, said + (log.read_text() if log.exists() else "")
    return said


def ran(folder: Path) -> list[str]:
    """Run Snakemake and return the stages that it ran."""
    (folder / "ran").unlink(missing_ok=True)
    run(folder, "snakemake", "--cores", "2")
    return sorted((folder / "ran").read_text().split()) if (folder / "ran").exists() else []


def planned(folder: Path) -> set[str]:
    """Return the rules that Snakemake would run."""
    return set(re.findall(r"^rule (\w+):", run(folder, "snakemake", "-n"), re.M)) - {"all"}


def test_dvc_finds_nothing_to_do_after_snakemake(project):
    assert "up to date" in run(project, "dvc", "repro")
    assert planned(project) == set()


def test_new_time_stamps_run_nothing(project):
    time.sleep(0.01)
    for path in (project / "letters.txt", project / "sorted.txt", project / "params.yaml"):
        path.write_bytes(path.read_bytes())
    assert ran(project) == []


def test_a_clone_that_pulled_runs_nothing(project, tmp_path):
    run(project, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    run(project, "dvc", "push")
    run(project, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "remote")
    run(tmp_path, "git", "clone", "--quiet", str(project), "clone")
    clone = tmp_path / "clone"
    run(clone, "dvc", "pull")
    assert ran(clone) == []
    assert "up to date" in run(clone, "dvc", "repro")


def test_a_changed_parameter_runs_the_stages_that_read_it(project):
    (project / "params.yaml").write_text("a: 2\nb: 1\n")
    assert planned(project) == {"copy_a", "join"}
    # The output of "copy" does not change, so "join" does not run.
    assert ran(project) == ["copy-a"]
    assert planned(project) == set()


def test_a_changed_file_runs_everything_below_it(project):
    (project / "letters.txt").write_text("c\na\n")
    assert ran(project) == ["copy-a", "copy-b", "join", "letters"]
    assert (project / "joined.txt").read_text() == "a\nc\na\nc\n"


def test_outputs_that_were_made_before_come_from_the_cache(project):
    before = (project / "letters.txt").read_text()
    (project / "letters.txt").write_text("c\n")
    ran(project)
    (project / "letters.txt").write_text(before)
    shutil.rmtree(project / "out")
    assert ran(project) == []
    assert (project / "joined.txt").read_text() == "a\nb\na\nb\n"


def test_finished_stages_of_an_interrupted_run_are_recorded(project):
    (project / "letters.txt").write_text("c\n")
    (project / "params.yaml").write_text("a: 3\nb: 1\n")
    run(project, "snakemake", "--cores", "2", "out/a")
    status = run(project, "dvc", "status")
    assert "copy@b:" in status and "copy@a:" not in status and "letters:" not in status
    assert ran(project) == ["copy-b", "join"]


def test_stages_that_run_side_by_side_are_all_recorded(project):
    (project / "params.yaml").write_text("a: 5\nb: 5\n")
    assert ran(project)[:2] == ["copy-a", "copy-b"]
    assert "up to date" in run(project, "dvc", "status")


def test_dvc_reads_its_files_once(project, monkeypatch):
    # Reading them takes half the time of a dry run.
    monkeypatch.syspath_prepend(ROOT / "workflow")
    import content

    monkeypatch.chdir(project)
    calls = []
    from_repo = Index.from_repo
    monkeypatch.setattr(Index, "from_repo", lambda *args: calls.append(1) or from_repo(*args))
    (project / "params.yaml").write_text("a: 2\nb: 1\n")
    found = {stage.name: stage for stage in content.stages(decide=True)}
    assert calls == [1]
    assert found["join"].inputs[1:] == ["out/a", "out/b"]
    assert set(found["letters"].inputs) == {".dvc/tmp/changed/letters", "letters.txt"}


def test_outputs_are_found_by_every_folder_above(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "workflow")
    from content import outputs_below

    below = outputs_below(["runs/a/0/model", "runs/ab/0/model", "data.csv"])
    assert below["runs/a"] == ["runs/a/0/model"]
    assert below["runs"] == ["runs/a/0/model", "runs/ab/0/model"]
    assert "runs/a/0/model" not in below and below["."][-1] == "data.csv"


def test_a_file_in_an_output_stands_for_the_output(monkeypatch):
    """Snakemake knows of no file in a folder that a rule writes."""
    monkeypatch.syspath_prepend(ROOT / "workflow")
    from content import output_with

    outputs = {"data/code", "runs/a"}
    assert output_with("data/code/heads/a.json", outputs) == "data/code"
    assert output_with("data/code", outputs) == "data/code"
    assert output_with("data/codes.json", outputs) == "data/codes.json"
