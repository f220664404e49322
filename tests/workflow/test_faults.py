"""After each fault the message and the next run are as the table in docs/reliability.md says."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "reliability.md").read_text()
pytestmark = pytest.mark.faults
# Two stages copy the lines of a file; the file "ran" lists the stages that ran.
DVC_YAML = """
stages:
  letters:
    cmd: sh letters.sh
    deps: [letters.txt]
    outs: [sorted.txt]
  double:
    cmd: echo double >> ran; cat sorted.txt sorted.txt > double.txt
    deps: [sorted.txt]
    outs: [double.txt]
"""
LETTERS = "echo letters >> ran; sort letters.txt > sorted.txt\n"
SNAKEMAKE = ("snakemake", "--cores", "2")


def row(fault: str, said: str, lost: str) -> None:
    """Check that the table in docs/reliability.md has this row."""
    line = f"| {fault} | {said} | {lost} |"
    assert line in TABLE.splitlines(), f"docs/reliability.md lacks the row\n{line}"


@pytest.fixture(scope="module")
def made(tmp_path_factory, snakefile):
    folder = tmp_path_factory.mktemp("made")
    files = {
        "dvc.yaml": DVC_YAML, "Snakefile": snakefile, "letters.sh": LETTERS,
        "letters.txt": "b\na\n", ".dvcignore": (ROOT / ".dvcignore").read_text(),
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    call(folder, "dvc", "init", "--quiet", "--no-scm")
    assert ran(folder) == ["double", "letters"]
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A project whose two stages have run."""
    return shutil.copytree(made, tmp_path / "project", copy_function=shutil.copyfile)


def start(folder: Path, *command: str) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        stdin=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip


def call(folder: Path, *command: str, ends: int = 0) -> str:
    process = start(folder, *command)
    said, _ = process.communicate(timeout=250)
    assert (process.returncode != 0) == (ends != 0), said
    return said


def ran(folder: Path, *command: str) -> list[str]:
    """Run the pipeline, by default with Snakemake, and return the stages that ran."""
    (folder / "ran").unlink(missing_ok=True)
    call(folder, *(command or SNAKEMAKE))
    return sorted((folder / "ran").read_text().split()) if (folder / "ran").exists() else []


def start_slow_stage(project: Path, *command: str) -> subprocess.Popen:
    """Start a run, and return when it is inside a stage that takes ten seconds."""
    (project / "letters.sh").write_text(
        "echo letters >> ran; sleep 10; sort letters.txt > sorted.txt"
    )
    (project / "letters.txt").write_text("c\n")
    (project / "ran").unlink()
    process = start(project, *command)
    while not (project / "ran").exists():
        time.sleep(0.05)
    return process


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def params_folder(tmp_path_factory):
    """A folder with parameters of a tiny run, and its raw faces."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "plugin").symlink_to(ROOT / "plugin")
    call(folder, "lh2face", "params", str(ROOT / "params" / "ci.yaml"))
    call(folder, "lh2face", "data", "people", "raw")
    return folder


def test_a_full_disk(params_folder, small_disk):
    said = call(params_folder, "lh2face", "align", "raw", str(small_disk / "aligned"), ends=1)
    (line,) = [line for line in said.splitlines() if line.startswith("lh2face:")]
    assert "No space left on device" in line and "Traceback" not in said
    assert not list(small_disk.iterdir())
    call(params_folder, "lh2face", "align", "raw", "aligned")
    assert (params_folder / "aligned" / "train.rec").exists()
    row(
        "Full disk in mid-stage",
        "`No space left on device`; the stage's half-written output is removed",
        "that stage",
    )


def test_a_read_only_folder(params_folder, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    said = call(params_folder, "lh2face", "align", "raw", str(small_disk / "aligned"), ends=1)
    assert re.search(r"lh2face: .*/\.aligned\.lock: Read-only file system", said)
    assert "Traceback" not in said
    row("Read-only output folder", "`Read-only file system`, with the path", "nothing")


def test_a_deleted_cache_file(project):
    shutil.rmtree(project / ".dvc" / "cache" / "files")
    assert "not in cache" in call(project, "dvc", "status")
    assert ran(project) == ["double", "letters"]
    assert "up to date" in call(project, "dvc", "status")
    row(
        "File deleted from DVC's cache",
        "`dvc status`: `not in cache`; its stage runs again under either engine",
        "that stage, and those below if its output differs",
    )


def test_a_file_changed_behind_dvcs_back(project):
    (project / "sorted.txt").write_text("x\n")
    assert re.search(r"modified: +sorted.txt", call(project, "dvc", "status"))
    assert ran(project) == []
    assert (project / "sorted.txt").read_text() == "a\nb\n"
    row(
        "Output changed behind DVC's back",
        "`dvc status`: `modified`; a re-run puts back what the cache has",
        "nothing",
    )


def test_a_stage_that_writes_nothing(project):
    (project / "letters.sh").write_text("true\n")
    (project / "letters.txt").write_text("c\n")
    assert "output 'sorted.txt' does not exist" in call(project, "dvc", "repro", ends=1)
    call(project, *SNAKEMAKE, ends=1)
    assert "output 'sorted.txt' does not exist" in (project / "log").read_text()
    (project / "letters.sh").write_text(LETTERS)
    assert ran(project) == ["double", "letters"]
    row(
        "Stage that writes nothing",
        "`output 'sorted.txt' does not exist`; what is below does not run",
        "that stage",
    )


def test_a_stage_that_dies_is_tried_again(project):
    dies_once = "echo letters >> ran; test -e died || { touch died; kill -9 $$; }\n"
    (project / "letters.sh").write_text(dies_once + "sort letters.txt > sorted.txt\n")
    (project / "letters.txt").write_text("c\n")
    assert ran(project, *SNAKEMAKE, "--retries", "2") == ["double", "letters", "letters"]
    assert (project / "double.txt").read_text() == "c\nc\n"
    assert "failed to run: sh letters.sh" in (project / "log").read_text()
    for profile in (ROOT / "workflow" / "profiles").glob("*/config.yaml"):
        assert "\nretries: 2\n" in profile.read_text()
    row(
        "Stage killed (out of memory, node gone)",
        "`failed to run`; the profiles try it again twice; training goes on from its checkpoint",
        "at most one checkpoint's interval of a training; else that stage",
    )


def test_a_killed_scheduler(project):
    process = start_slow_stage(project, *SNAKEMAKE)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(20):  # until the system has removed the killed process
        said = call(project, *SNAKEMAKE, ends=1)
        if "is busy" not in said:
            break
    assert "cannot be locked" in said
    call(project, *SNAKEMAKE, "--unlock")
    (project / "letters.sh").write_text(LETTERS)
    assert ran(project, *SNAKEMAKE, "--rerun-incomplete") == ["double", "letters"]
    assert "up to date" in call(project, "dvc", "status")
    row(
        "Killed scheduler",
        "`Directory cannot be locked`, with the remedy, `snakemake --unlock`",
        "the stages that ran; what had ended is kept",
    )


def test_two_runs_in_one_folder(project):
    first = start_slow_stage(project, "dvc", "repro")
    for command in (("dvc", "repro"), SNAKEMAKE):
        said = call(project, *command, ends=1)
        assert "is busy, it is being blocked by" in said and f"(PID {first.pid})" in said
    assert first.wait() == 0 and (project / "double.txt").read_text() == "c\nc\n"
    row(
        "Second run in the same folder",
        "`is busy, it is being blocked by: (PID …): dvc repro`; the first goes on",
        "nothing",
    )


def test_clocks_that_differ(project):
    for hours, name in ((24, "letters.txt"), (-24, "sorted.txt"), (48, "double.txt")):
        moment = time.time() + 3600 * hours
        os.utime(project / name, (moment, moment))
    assert ran(project) == [] and ran(project, "dvc", "repro") == []
    (project / "letters.txt").write_text("c\n")
    os.utime(project / "letters.txt", (0, 0))
    assert ran(project) == ["double", "letters"]
    row(
        "Clocks of machines that differ by days",
        "nothing runs, as contents are the same; a changed file with an old date is found",
        "nothing",
    )


def test_kills_in_training_are_in_the_table():
    # The kills are in tests/stages/test_train.py.
    row(
        "Training killed, 20 times inside epochs, half of them while it writes a checkpoint",
        "goes on inside the epoch from the last whole checkpoint, ends bit for bit like a whole "
        "run",
        "at most one checkpoint's interval",
    )
    row(
        "Last checkpoint damaged or cut short",
        "`last.pth: damaged or cut short; training goes on from before.pth`",
        "one checkpoint's interval",
    )
    row(
        "Both checkpoints damaged",
        "`before.pth: damaged or cut short; training begins again`",
        "that training",
    )
    row(
        "Second training into the same folder",
        "`process … on … works here already; wait for it or stop it`",
        "nothing",
    )
