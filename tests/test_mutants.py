"""Every mutant applies to the tree and names tests that exist; running them all takes too long."""

import ast
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
AREAS = sorted((ROOT / "tests" / "mutants").glob("*.toml"))


@cache
def functions(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def missing(test: str) -> bool:
    """Return whether a test id names a file or a test that does not exist."""
    file, _, name = test.partition("::")
    path = ROOT / file
    if not name:
        return not (path.is_file() or any(path.glob("**/test_*.py")))
    return not path.is_file() or name.partition("[")[0] not in functions(path)


@pytest.mark.parametrize("area", AREAS, ids=lambda path: path.stem)
def test_each_mutant_applies_once_and_names_existing_tests(area):
    wrong = []
    for mutant in tomllib.loads(area.read_text(encoding="utf-8"))["mutant"]:
        assert mutant.keys() == {"name", "file", "old", "new", "tests"} and mutant["tests"]
        file = ROOT / mutant["file"]
        places = file.read_text(encoding="utf-8").count(mutant["old"]) if file.is_file() else 0
        if places != 1 or mutant["old"] == mutant["new"]:
            wrong.append(f"{mutant['name']}: {places} places in {mutant['file']}")
        wrong += [f"{mutant['name']}: no {test}" for test in mutant["tests"] if missing(test)]
    assert not wrong


def test_names_of_mutants_are_unique():
    names = Counter(
        mutant["name"]
        for area in AREAS
        for mutant in tomllib.loads(area.read_text(encoding="utf-8"))["mutant"]
    )
    assert not [name for name, count in names.items() if count > 1]
