"""List the files of the package that a stage depends on: all that its module imports, at any depth.

Run it in the folder of dvc.yaml:

    python workflow/closure.py                     prints the files of every stage
    python workflow/closure.py embed evaluate      prints the files of these stages
    python workflow/closure.py --write             writes the files into dvc.yaml

The files are found from the source text; nothing is imported. Imports inside functions count, those
for type checkers do not. An ``__init__`` that only collects names is no dependency: a name imported
from it leads to the file that defines the name. The name of a registered class in a string, such as
``type="RecordFaces"``, counts as an import of the class.

Some files depend on the parameters, such as the file of a benchmark's type or of a head. They
differ between the instances of a stage, for example between two heads of stage ``train``. A list in
dvc.yaml cannot express this. So stage ``code`` writes the digests of these files, as one JSON file
per instance, and the instance depends on its JSON file:

    python workflow/closure.py --code OUT
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
CONFIGS, HEADS, BACKBONES = (ROOT / room for room in ("configs", "heads", "backbones"))
# For each section of the parameters, the module that lists its types.
TYPES = {
    "sources": f"{PACKAGE}.data.training_sources",
    "benchmarks": f"{PACKAGE}.data.benchmarks",
    "validation": f"{PACKAGE}.data.benchmarks",
}
# The module that lists the types of a ``detector``, which an entry of these sections may have.
DETECTORS = f"{PACKAGE}.detection"
# Modules that only list other modules' names.
LISTS = {f"{PACKAGE}.register", DETECTORS, *TYPES.values()}


def file_of(module: str) -> Path | None:
    """Return the file of a module of the package; ``None`` if there is none."""
    path = SOURCE.joinpath(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((one for one in found if one.is_file()), None)


def module_of(path: Path) -> str:
    """Return the name of the module that a file of the package contains."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file, without docstrings and code for type checkers."""
    return WithoutTyping().visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))


class WithoutTyping(ast.NodeTransformer):
    """Remove ``if TYPE_CHECKING:`` and docstrings from a syntax tree."""

    def visit_If(self, node: ast.If) -> Any:
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if typing else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> Any:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def only_collects(path: Path) -> bool:
    """Whether a file only collects names: it defines nothing but ``__all__`` or a version."""
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
    """Return the absolute name of the module in ``from module import …``."""
    if not level:
        return module
    package = module_of(path).split(".")
    if path.name == "__init__.py":
        package.append("")
    return ".".join(filter(None, [*package[:-level], module]))


def defined_in(module: str, name: str) -> Path | None:
    """Return the file that defines a name which ``from module import name`` imports.

    ``None`` if the module is not part of the package.
    """
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
    """Return the files of the registered classes, by the name of the class."""
    return {
        node.name: path
        for path in sorted(ROOT.rglob("*.py"))
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
        and any("register_module" in ast.unparse(one) for one in node.decorator_list)
    }


@cache
def read_by(path: Path) -> frozenset[Path]:
    """Return the files that a file depends on, by imports or by names of registered classes."""
    found: set[Path | None] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            ours = [one.name for one in node.names if one.name.partition(".")[0] == PACKAGE]
            found.update(map(file_of, ours))
        elif isinstance(node, ast.ImportFrom):
            module = origin(node.module or "", node.level, path)
            found.update(defined_in(module, one.name) for one in node.names)
    # The classes that a config names are added by recipe(), because the parameters choose the
    # config.
    if CONFIGS not in path.parents:
        found.update(named_in(path))
    return frozenset(one for one in found if one is not None and not only_collects(one))


def named_in(path: Path) -> set[Path]:
    """Return the files of the registered classes whose names are strings in a file."""
    return {
        registered()[node.value]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and node.value in registered()
    }


def with_bases(config: Path) -> Iterator[Path]:
    """Yield a config and all configs from which it inherits, which must be in the package."""
    yield config
    for node in tree(config).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_base_":
            value = ast.literal_eval(node.value)
            for name in [value] if isinstance(value, str) else value:
                yield from with_bases(CONFIGS / name.rpartition("configs/")[2])


def closure(begin: Iterable[Path]) -> set[Path]:
    """Return some files and all files on which they depend, at any depth."""
    found: set[Path] = set()
    waiting = list(begin)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(read_by(path))
    return found


def stage_files(name: str, command: str) -> set[Path]:
    """Return the files on which a stage of dvc.yaml depends with any parameters.

    Args:
        name: Name of the stage, without the values of its matrix.
        command: Command line of the stage.

    Raises:
        ValueError: If the command calls no stage of the package.
    """
    called = re.search(r"lh2face ([a-z0-9-]+)", command)
    module = file_of(f"{PACKAGE}.stages.{called[1].replace('-', '_')}") if called else None
    if module is None:
        raise ValueError(f"{name}.cmd: expected a stage of the package, found {command!r}")
    return closure([module])


def code(params: dict[str, Any]) -> dict[str, set[Path]]:
    """Return the files that the parameters choose, by the name of the JSON file of stage code."""
    found = {
        f"{section}/{name}": closure(entry_types(module, entry))
        for section, module in TYPES.items()
        for name, entry in params[section].items()
    }
    trained, fitted = recipe(params["train"]), recipe(params["fit3d"])
    # The heads of the parameters replace the head of the recipe.
    common = trained - inside(trained, HEADS)
    for name, head in params["heads"].items():
        found[f"heads/{name}"] = closure([*common, *classes(head)])
    # The recipe of the reconstructor inherits a head and a backbone, but uses neither.
    found["reconstructor"] = closure(fitted - inside(fitted, HEADS, BACKBONES))
    found["network"] = closure(inside(trained, CONFIGS, BACKBONES))
    if params["joint"]["fusion"] != "none":
        found["network"] |= found["reconstructor"]
    return found


def entry_types(module: str, entry: dict[str, Any]) -> list[Path]:
    """Return the files of the types of an entry of a section: its own, and its detector's."""
    detector = entry.get("detector")
    detectors = [types(DETECTORS)[detector["type"]]] if detector else []
    return [types(module)[entry["type"]], *detectors]


def inside(files: set[Path], *folders: Path) -> set[Path]:
    """Return those files that are in one of the folders."""
    return {path for path in files if {*folders} & {*path.parents}}


def types(module: str) -> dict[str, Path]:
    """Return the files of the classes in the first dictionary of a module, by their keys."""
    path = file_of(module)
    listed = (node.value for node in tree(path).body if isinstance(node, ast.AnnAssign))
    first = next(node for node in listed if isinstance(node, ast.Dict))
    names = zip(map(ast.literal_eval, first.keys), first.values, strict=True)
    return {key: defined_in(module, name.id) for key, name in names}


def recipe(section: dict[str, Any]) -> set[Path]:
    """Return the configs of a recipe, and the files of the classes that they and options name."""
    configs = set(with_bases(Path(section["config"])))
    named = (path for one in configs for path in named_in(one))
    return {*configs, *named, *classes(section["options"])}


def classes(values: Any) -> set[Path]:
    """Return the files of the registered classes that are named in values of the parameters."""
    return {registered()[name] for name in strings(values) if name in registered()}


def strings(value: Any) -> Iterator[str]:
    """Yield the strings in a value of YAML, at any depth."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else ():
        yield from strings(inner)
    for inner in value if isinstance(value, list) else ():
        yield from strings(inner)


def listed(files: set[Path]) -> list[str]:
    """Return files as dependencies, with the templates beside them.

    No folder stands for its files: a new file in it would make the stage stale.
    """
    templates = {path.with_name("templates") for path in files}
    return sorted(map(str, {*files, *filter(Path.is_dir, templates)}))


def stages() -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml by name, before ``${…}`` is replaced by values."""
    found = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    return {name: stage.get("do", stage) for name, stage in found.items()}


def expected(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the dependencies of stages on files of the package."""
    found = stages()
    # Stage code depends on the whole package.
    return {n: listed(stage_files(n, found[n]["cmd"])) for n in names if n != "code"}


def with_lists(text: str) -> str:
    """Return the text of dvc.yaml with the files of the package on which each stage depends."""
    lists = expected(stages())
    name, lines = "", []
    for line in text.splitlines():
        name = found[1] if (found := re.fullmatch(r"  (\w+):", line)) else name
        if re.match(rf" +- {ROOT}/", line):
            continue
        lines.append(line)
        if line.strip() == "deps:" and name in lists:
            lines += [line.replace("deps:", f"  - {path}") for path in lists[name]]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Run what the docstring of this module shows."""
    if arguments[:1] == ["--code"]:
        from lh2face.params import load_params

        try:  # stage code runs first, so it reports mistakes in the parameters
            params = load_params(Path("params.yaml")).model_dump()
        except ValueError as error:
            sys.exit(str(error))
        for name, files in code(params).items():
            out = Path(arguments[1], f"{name}.json")
            out.parent.mkdir(parents=True, exist_ok=True)
            made = {str(one): digest(one) for one in sorted(files)}
            out.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        return
    if arguments == ["--write"]:
        path = Path("dvc.yaml")
        path.write_text(with_lists(path.read_text(encoding="utf-8")), encoding="utf-8")
        return
    for name, files in expected(arguments or stages()).items():
        print(f"{name}:", *files, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:])
