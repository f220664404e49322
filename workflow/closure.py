"""Which files of the package a stage reads: everything that its module imports, at any depth.

By hand, from the folder of dvc.yaml:

    python workflow/closure.py                     the files of every stage
    python workflow/closure.py embed evaluate      the files of some
    python workflow/closure.py --write             put them into dvc.yaml

The files come from the source text; nothing is imported. Imports inside functions count, those for
type checkers do not. An ``__init__`` that only collects names is no dependency: a name imported
from it leads to the file that defines it. The name of a registered class in a string, such as
``type="RecordFaces"``, counts as an import of it.

What a head and the recipe name differs from model to model, which a list in dvc.yaml cannot say.
Stage ``parts`` writes the digests of these files, one file per head:

    python workflow/closure.py --parts HEAD OUT
"""

import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lh2face.files.digests import digest

SOURCE = Path("plugin")
PACKAGE = "lh2face"
ROOT = SOURCE / PACKAGE
# Modules that only list others.
LISTS = {f"{PACKAGE}.register"}
RECONSTRUCTORS = {"reconstruction", "rendering"}
# Rooms of which a stage reads whatever a file or parameter names.
BUILT = {
    "data": {"data.training_sources"},
    "benchmark": {"data.benchmarks"},
    "align_benchmark": {"data.benchmarks"},
    "validation": {"data.benchmarks"},
    "align_validation": {"data.benchmarks"},
    "fit3d": {*RECONSTRUCTORS, "configs"},
    "depth": RECONSTRUCTORS,
    "untrained": {"backbones", "configs"},
    "weights": {"backbones", "configs"},
    "embed": {"backbones"},
}
CONFIGS = ROOT / "configs"


def file_of(module: str) -> Path | None:
    """The file of a module of the package; ``None`` if there is none."""
    path = SOURCE.joinpath(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((one for one in found if one.is_file()), None)


def module_of(path: Path) -> str:
    """The module of a file of the package."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file, without the parts that only a type checker reads."""
    return WithoutTyping().visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))


class WithoutTyping(ast.NodeTransformer):
    """Removes ``if TYPE_CHECKING:`` and docstrings."""

    def visit_If(self, node: ast.If) -> Any:
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if typing else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def only_collects(path: Path) -> bool:
    """Whether an ``__init__`` defines nothing but ``__all__`` and its version."""
    if module_of(path) in LISTS:
        return True
    ours = (ast.Import, ast.ImportFrom)
    return path.name == "__init__.py" and all(
        isinstance(node, ours)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("__"))
        or module_of(path) == PACKAGE
        for node in tree(path).body
        if node is not None
    )


def origin(module: str, level: int, path: Path) -> str:
    """The absolute name of the module in ``from module import …``."""
    if not level:
        return module
    package = module_of(path).split(".")
    if path.name == "__init__.py":
        package.append("")
    return ".".join(filter(None, [*package[:-level], module]))


def defined_in(module: str, name: str) -> Path | None:
    """The file that defines what ``from module import name`` gives; ``None`` if not ours."""
    if module.partition(".")[0] != PACKAGE:
        return None
    if inner := file_of(f"{module}.{name}"):
        return inner
    path = file_of(module)
    if path is None or not only_collects(path):
        return path
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return defined_in(origin(node.module or "", node.level, path), alias.name)
    return path


@cache
def registered() -> dict[str, Path]:
    """The files of the registered classes, by the name of the class."""
    return {
        node.name: path
        for path in sorted(ROOT.rglob("*.py"))
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
        and any("register_module" in ast.unparse(one) for one in node.decorator_list)
    }


@cache
def read_by(path: Path) -> frozenset[Path]:
    """The files of the package that a file imports, or names as registered classes."""
    found: set[Path | None] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            ours = [one.name for one in node.names if one.name.partition(".")[0] == PACKAGE]
            found.update(map(file_of, ours))
        elif isinstance(node, ast.ImportFrom):
            module = origin(node.module or "", node.level, path)
            found.update(defined_in(module, one.name) for one in node.names)
    # What a config names depends on which config a stage is given.
    if CONFIGS not in path.parents:
        found.update(named_in(path))
    return frozenset(one for one in found if one is not None and not only_collects(one))


def named_in(path: Path) -> set[Path]:
    """The files of the registered classes whose names are strings in a file."""
    return {
        registered()[node.value]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and node.value in registered()
    }


def with_bases(config: Path) -> Iterator[Path]:
    """A config and those that it inherits from; only the package's own may be inherited from."""
    yield config
    for node in tree(config).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_base_":
            value = ast.literal_eval(node.value)
            for name in [value] if isinstance(value, str) else value:
                yield from with_bases(CONFIGS / name.rpartition("configs/")[2])


def closure(begin: Iterable[Path]) -> set[Path]:
    """Some files and everything that they read."""
    found: set[Path] = set()
    waiting = list(begin)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(read_by(path))
    return found


def files_in(room: str) -> list[Path]:
    """The files of a module or folder of the package."""
    path = ROOT.joinpath(*room.split("."))
    found = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return [one for one in found if not only_collects(one)]


def stage_files(name: str, command: str) -> set[Path]:
    """What a stage of dvc.yaml reads, whatever the parameters.

    Args:
        name: Of the stage, without the values of its matrix.
        command: Its command line.
    """
    if name == "parts":
        return closure([*registered().values(), *files_in("configs")])
    called = re.search(r"lh2face ([a-z0-9-]+)", command)
    module = file_of(f"{PACKAGE}.stages.{called[1].replace('-', '_')}") if called else None
    if module is None:
        raise ValueError(f"{name}: found no stage of the package in {command!r}")
    built = (path for room in BUILT.get(name, ()) for path in files_in(room))
    # The package's own recipe; one of the user's own may name more.
    recipes = with_bases(CONFIGS / "reconstruction.py") if name == "fit3d" else ()
    return closure([module, *built, *(path for one in recipes for path in named_in(one))])


def parts(head: str, params: dict[str, Any]) -> set[Path]:
    """What the training of a head reads because the parameters and the recipe name it."""
    train = params["train"]
    configs = set(with_bases(Path(train["config"])))
    # The head of the parameters takes the place of the config's own.
    named = {path for one in configs for path in named_in(one)}
    named = {path for path in named if ROOT / "heads" not in path.parents}
    for name in strings([params["heads"][head], train["options"]]):
        named.update({registered()[name]} if name in registered() else ())
    return closure([*configs, *named])


def strings(value: Any) -> Iterator[str]:
    """The texts in a value of YAML, at any depth."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else ():
        yield from strings(inner)
    for inner in value if isinstance(value, list) else ():
        yield from strings(inner)


def listed(files: set[Path]) -> list[str]:
    """Files as dependencies: a folder stands for its files if all of them are among these."""
    found: set[Path] = set()
    for path in files:
        folder = path
        for parent in path.parents:
            inside = files_in(".".join(parent.relative_to(ROOT).parts)) if parent != ROOT else []
            if not inside or not files.issuperset(inside):
                break
            folder = parent if len(inside) > 1 else folder
        found.add(folder)
    return sorted(map(str, found))


def stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.yaml, by name, before values take the place of ``${…}``."""
    found = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    return {name: stage.get("do", stage) for name, stage in found.items()}


def expected(names: Iterable[str]) -> dict[str, list[str]]:
    """The dependencies of stages on files of the package."""
    found = stages()
    return {name: listed(stage_files(name, found[name]["cmd"])) for name in names}


def with_lists(text: str) -> str:
    """The text of dvc.yaml with the files of the package that each stage reads."""
    lists = expected(stages())
    name, lines = "", []
    for line in text.splitlines():
        name = found[1] if (found := re.fullmatch(r"  (\w+):", line)) else name
        if re.match(rf" +- {ROOT}/", line):
            continue
        lines.append(line)
        if line.strip() == "deps:":
            lines += [line.replace("deps:", f"  - {path}") for path in lists[name]]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Run what the docstring of this module shows."""
    if arguments[:1] == ["--parts"]:
        _, head, out = arguments
        files = parts(head, YAML(typ="safe").load(Path("params.yaml")))
        made = {str(one): digest(one) for one in sorted(files)}
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        return
    if arguments == ["--write"]:
        path = Path("dvc.yaml")
        path.write_text(with_lists(path.read_text(encoding="utf-8")), encoding="utf-8")
        return
    for name, files in expected(arguments or stages()).items():
        print(f"{name}:", *files, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:])
