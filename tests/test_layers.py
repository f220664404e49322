"""Imports in the package go only to lower layers, even inside functions."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "plugin" / "lh2face"
# The subpackages and modules of the package in layers, from low to high. Each imports only itself
# and lower layers.
LAYERS = (
    {"functional", "text"},
    {"arguments", "files", "onnx", "progress", "registry", "threads"},
    {"backbones", "detection", "distributed", "heads", "recognizers", "rendering"},
    {"data", "mmengine_compat"},
    {"evaluation", "reconstruction"},
    {"artifacts"},
    {"augmentation", "training"},
    {"register"},  # imports the modules that register classes
    {"__init__"},
    {"embedding", "params", "report", "runs"},
    {"adapters", "stages"},
    {"tools"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
LAYER = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}
# Configs are files of mmengine, which name classes of the registry.
OUTSIDE = {"configs"}
# Imports that are forbidden although they go down.
NEVER = {"evaluation": {"heads"}}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the first part of the name and the file of each module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name not in OUTSIDE:
            yield name, path


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import in a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            # "from lh2face import data" imports a subpackage; other names need not be modules.
            more = (f".{alias.name}" if node.module == "lh2face" else "" for alias in node.names)
            yield from ((node.lineno, f"{node.module}{name}") for name in more)


def test_every_subpackage_has_a_layer():
    assert {room for room, _ in modules()} == LAYER.keys()
    assert sum(map(len, LAYERS)) == len(LAYER)


@pytest.mark.parametrize("room", sorted(LAYER))
def test_imports_go_down(room):
    below = {other for other in LAYER if LAYER[other] < LAYER[room]} - NEVER.get(room, set())
    refused = [
        f"{path.relative_to(PACKAGE)}:{line}: {module}"
        for found, path in modules()
        if found == room
        for line, module in imported(path)
        if module.partition(".")[0] == "lh2face"
        and [*module.split("."), "__init__"][1] not in {*below, *OUTSIDE, room}
    ]
    assert not refused


def test_imports_are_absolute():
    """The other tests here do not see relative imports."""
    relative = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for _, path in modules()
        if "stand_ins" not in path.parts  # these take the names of other packages
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_functional_imports_only_numpy_and_torch():
    found = {
        module.partition(".")[0]
        for room, path in modules()
        if room == "functional"
        for _, module in imported(path)
    }
    assert found - sys.stdlib_module_names - {"lh2face"} == {"numpy", "torch"}
