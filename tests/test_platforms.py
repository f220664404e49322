"""The package works on machines without modules of Unix, without glibc and without git."""

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
    # This imitates Windows. Other libraries are imported first, as they use what this machine has.
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
    # macOS counts bytes, Linux KiB.
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.peak_memory() == pytest.approx(found / 1024, abs=1)


def test_without_glibc_memory_is_not_tuned(monkeypatch):
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
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    # A pipeline of one stage replaces ours, which takes minutes.
    (tmp_path / "dvc.yaml").write_text("stages: {depth: {cmd: echo made > one, outs: [one]}}\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    if has_git:
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    command = ["make", "--old-file=setup", "reproduce"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "one").read_text() == "made\n" and "report/index.html" in done.stdout
    assert (tmp_path / ".dvc" / "config.local").exists() != has_git
