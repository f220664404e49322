"""Machines that lack what this one has: modules of Unix alone, git, a home that can be written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lh2face.artifacts import provenance
from lh2face.training import memory

ROOT = Path(__file__).resolve().parents[1]
UNIX_ALONE = ("fcntl", "resource", "pwd", "grp", "termios", "posix")


def test_every_module_imports_where_unix_modules_are_absent():
    # As on Windows. Libraries come first, because those of this machine import what is there.
    code = f"""
import importlib, os, pkgutil, sys
import torch, mmengine.runner, cv2, rich, typer, pydantic, ruamel.yaml, pandas, plotly, jinja2
import filelock, onnx, onnxruntime, safetensors.torch, webdataset, pyarrow, scipy.stats
for name in {UNIX_ALONE!r}:
    sys.modules[name] = None
if hasattr(os, "sched_getaffinity"):
    del os.sched_getaffinity
import lh2face
names = [m.name for m in pkgutil.walk_packages(lh2face.__path__, "lh2face.")]
for name in names:
    if "stand_ins" not in name and "pytorch3d" not in name:
        importlib.import_module(name)
from lh2face.training.memory import peak_memory
from lh2face.tools.doctor import machine
assert peak_memory() is None
assert any("cores" in finding.found for finding in machine())
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 70


def test_peak_memory_is_in_mebibytes(monkeypatch):
    found = memory.peak_memory()
    status = Path("/proc/self/status")
    if status.exists():
        peak = int(status.read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) / 1024
        assert found == pytest.approx(peak, rel=0.05)
    # macOS counts bytes where Linux counts KiB.
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.peak_memory() == pytest.approx(found / 1024, abs=1)


def test_freed_memory_is_kept_where_there_is_glibc_alone(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "win32")
    monkeypatch.setattr(memory.ctypes, "CDLL", None)  # Windows has no CDLL(None)
    memory.reuse_freed_memory()


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() is None


@pytest.mark.parametrize("has_git", [True, False])
def test_make_reproduce_works_in_a_source_archive(tmp_path, has_git):
    for name in ("Makefile", "dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    if has_git:
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    # DVC itself, but that the pipeline is looked at and not run.
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "dvc").write_text(
        f'#!/bin/sh\n[ "$1" = repro ] && set -- status align\nexec {sys.executable} -m dvc "$@"\n'
    )
    (bin_folder / "dvc").chmod(0o755)
    command = ["make", "--old-file=setup", "reproduce"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "align@people:" in done.stdout and "report/index.html" in done.stdout
    assert (tmp_path / ".dvc" / "config.local").exists() != has_git
