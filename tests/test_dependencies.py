"""Every package that the project imports is declared for the folder that needs it."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Running the files of a folder needs these extras. The package alone needs none: test_package.py.
FOLDERS = {
    "plugin": ("pipeline", "timm", "insightface", "detect", "demo"),
    "workflow": ("pipeline",),
    "docs": ("dev",),
    "tests": ("dev",),
    "benchmarks": ("dev",),
    "examples": (),
}
# Stand-ins for other programs, and files that run inside other toolboxes.
OTHERS = ("plugin/lh2face/adapters/arcface_torch/stand_ins", "tests/adapters")
# Packages that are not on the index for every supported Python; each is optional.
NOT_DECLARED = {"mmpretrain", "pytorch3d"}
# A package that is not installed for the tests, and its modules.
ABSENT = {"timm": ["timm"]}


def declared(extras: tuple[str, ...]) -> set[str]:
    """Return the packages of the project and of some extras, including extras of extras."""
    found, waiting = set(), [*PROJECT["dependencies"], *(one for e in extras for one in EXTRAS[e])]
    while waiting:
        needed = Requirement(waiting.pop())
        if needed.name == PROJECT["name"]:
            waiting.extend(one for extra in needed.extras for one in EXTRAS[extra])
        found.add(canonicalize_name(needed.name))
    return found


def imported(folder: str) -> dict[str, str]:
    """Return the modules of other packages that a folder imports, each with an importing file."""
    files = [path for path in (ROOT / folder).rglob("*.py") if not str(path).startswith(outside())]
    files += [ROOT / "Snakefile"] if folder == "workflow" else []
    scripts = (ROOT / "workflow").glob("*.py")
    ours = (
        {path.stem for path in (*files, *scripts)}
        | {"lh2face", "tests", "workflow"}
        | sys.stdlib_module_names
    )
    return {
        name: str(path.relative_to(ROOT))
        for path in files
        for node in ast.walk(ast.parse(python_of(path)))
        for name in top_names(node)
        if name not in ours
    }


def outside() -> tuple[str, ...]:
    return tuple(str(ROOT / one) for one in OTHERS)


def python_of(path: Path) -> str:
    """Return the text of a file; of a Snakefile only its beginning, which has the imports."""
    text = path.read_text(encoding="utf-8")
    return text if path.suffix else text.partition("\nrule ")[0]


def top_names(node: ast.AST) -> set[str]:
    """Return the top-level modules that a statement imports by absolute name."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    absolute = isinstance(node, ast.ImportFrom) and node.level == 0
    return {node.module.partition(".")[0]} if absolute else set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_imported_packages_are_declared(folder):
    allowed, owners = declared(FOLDERS[folder]), {**ABSENT, **packages_distributions()}
    found = imported(folder)
    assert len(found) > 4
    missing = {
        name: path
        for name, path in found.items()
        if name not in NOT_DECLARED
        and allowed.isdisjoint(map(canonicalize_name, owners.get(name, [])))
    }
    assert not missing, "pyproject.toml does not declare them"


def test_the_lock_file_satisfies_the_declarations():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line[:1].isalnum()]
    locked = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    for text in [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["pipeline"]]:
        needed = Requirement(text)
        if needed.name != PROJECT["name"]:
            version = locked[canonicalize_name(needed.name)]
            assert needed.specifier.contains(version), text


def test_the_plugin_alone_does_not_depend_on_the_pipeline():
    only = declared(("pipeline", "demo", "insightface", "detect")) - declared(())
    assert {"dvc", "snakemake", "pandas", "pydantic", "ruamel-yaml", "onnx", "flask"} <= only
