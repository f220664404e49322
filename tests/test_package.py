"""The wheel works in an environment that has only its declared dependencies."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# Modules whose import needs an extra.
NEED_PIPELINE = {
    f"lh2face.{name}"
    for name in (
        "params", "stages.report", "report.benchmark", "report.page", "report.pictures",
        "report.kappa", "report.plots", "report.training",
    )
}  # fmt: skip


def closure(extra: str) -> Iterator[metadata.Distribution]:
    """Yield the installed distributions that lh2face needs, directly or not."""
    seen, queue = set(), [("lh2face", extra)]
    while queue:
        name, extra = queue.pop()
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            for wanted in ("", *needed.extras):
                key = (canonicalize_name(needed.name), wanted)
                holds = needed.marker is None or needed.marker.evaluate({"extra": extra})
                holds = holds or needed.marker.evaluate({"extra": ""})
                if holds and key not in seen:
                    seen.add(key)
                    queue.append(key)
                    yield metadata.distribution(needed.name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the tree, so that no old files get in and none are left."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "plugin", folder / "plugin", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", folder, folder], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=["", "pipeline"], ids=["plugin alone", "pipeline"])
def environment(request, wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel and links to its requirements, for no or one extra."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    packages = folder / "packages"
    packages.mkdir()
    for distribution in closure(request.param):
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            place = packages / name
            if not place.exists():
                place.symlink_to(distribution.locate_file(name))
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{packages}\n")
    return folder


def run(environment: Path, *command: str) -> subprocess.CompletedProcess:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [environment / "bin" / command[0], *command[1:]], cwd=environment, env=variables,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_wheel_holds_every_module_and_data_file(environment):
    """Data files are the report's template, style sheet and script, and ``py.typed``."""
    (site,) = environment.glob("lib/python*/site-packages")
    source = ROOT / "plugin"
    expected, found = (
        {p.relative_to(root) for p in (root / "lh2face").rglob("*.*") if p.suffix != ".pyc"}
        for root in (source, site)
    )
    assert found == expected


def test_commands_and_modules_work(environment, request):
    alone = "plugin alone" in request.node.name
    shown = run(environment, "lh2face", "--help")
    assert shown.returncode == 0 and "verify" in shown.stdout, shown.stderr
    doctor = run(environment, "lh2face", "doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert ("✓ pipeline" in doctor.stdout) != alone
    script = """
import importlib, pkgutil, lh2face
for module in pkgutil.walk_packages(lh2face.__path__, "lh2face."):
    if "stand_ins" not in module.name:
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(module.name)
"""
    imported = run(environment, "python", "-c", script)
    assert imported.returncode == 0, imported.stderr
    assert set(imported.stdout.split()) == (NEED_PIPELINE if alone else set())
    stage = run(environment, "lh2face", "data", "people", "out")
    assert stage.returncode == 1 and stage.stderr.count("\n") == 1
    assert ("`lh2face doctor`" if alone else "params.yaml: not found") in stage.stderr


def test_every_file_names_the_same_version():
    version = metadata.version("lh2face")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text()


def test_help_has_one_line_per_command():
    variables = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    shown = subprocess.run(
        ["lh2face", "--help"], env=variables, capture_output=True, text=True, check=True
    ).stdout
    panels = [line.strip("╭╮─ ") for line in shown.splitlines() if line.startswith("╭")]
    assert panels == [
        "Options", "The pipeline, in the order in which data flows", "Evaluation",
        "Faces and models by hand", "Other toolboxes",
    ]  # fmt: skip
    commands = shown.partition("The pipeline, in")[2]
    within = [line for line in commands.splitlines() if line.startswith("│")]
    commands = [line.split()[1] for line in within]
    assert len(commands) == len(set(commands)) > 15
    assert all(not line.startswith("│   ") for line in within), "a line runs over"
    for example in shown.partition("Examples")[2].splitlines():
        if example.strip().startswith("lh2face"):
            assert example.split()[1] in commands
