"""Reference files such as ``docs/reference_run.json``: the figures of all models of a run."""

import json
from pathlib import Path
from typing import Any

from lh2face.artifacts.evaluations import evaluations_below, read_run
from lh2face.artifacts.provenance import commit
from lh2face.evaluation.comparison import Difference, Run, differing_keys, with_interval
from lh2face.files.json_object import number, read_object
from lh2face.files.outputs import atomic_file

KIND = "lh2face reference run"
EXPECTED = "a file of `lh2face reference`"


def write_reference(runs: Path, out: Path) -> None:
    """Write the mean and the interval of each figure, to compare other runs with them.

    Args:
        runs: Folder with one folder per model, such as ``runs``.
        out: File to write. An existing file must have been written by this function.

    Raises:
        ValueError: If no model was evaluated, ``out`` is another file, or an evaluation is damaged.
    """
    if out.exists():
        read_reference(out)
    tables: dict[str, Any] = {}
    for model, of_model in runs_below(runs).items():
        for benchmark, run in of_model.items():
            table = tables.setdefault(benchmark, {"digests": run.benchmarks[0], "models": {}})
            table["models"][model] = {
                name: {"mean": mean, "interval": list(ends)}
                for name, (mean, ends) in with_interval(run).items()
            }
    reference = {"kind": KIND, "commit": commit(), "benchmarks": tables}
    with atomic_file(out) as partial:
        partial.write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")


def runs_below(folder: Path) -> dict[str, dict[str, Run]]:
    """Read the evaluations of each model below a folder, by benchmark.

    Raises:
        ValueError: If there are none.
    """
    found = {}
    for model in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            evaluations = evaluations_below(model)
        except ValueError:  # the folder of the reconstructor has no evaluations
            continue
        found[model.name] = {name: read_run(*paths) for name, paths in evaluations.items()}
    if not found:
        raise ValueError(
            f"{folder}: there is no evaluated model in it; expected a folder such as runs"
        )
    return found


def read_reference(path: Path) -> dict[str, Any]:
    """Read the tables of a reference, by benchmark.

    Raises:
        ValueError: If the file is not what :func:`write_reference` writes.
    """
    found = read_object(path, EXPECTED)
    if found.get("kind") != KIND or not isinstance(found.get("benchmarks"), dict):
        raise ValueError(f"{path}: expected {EXPECTED}")
    return dict(found["benchmarks"])


def against_reference(runs: Path, path: Path) -> dict[str, dict[str, list[Difference]]]:
    """Compare the models of a run with a reference, by benchmark and model.

    Args:
        runs: Folder with one folder per model, such as ``runs``.
        path: File written by :func:`write_reference`.

    Returns:
        The difference in each figure that both have. Its interval is the mean of the run minus the
        interval of the reference, so it excludes zero if that mean is outside the latter.

    Raises:
        ValueError: If they share no benchmark and model, were evaluated on different benchmarks of
            one name, or for the reasons of :func:`runs_below` and :func:`read_reference`.
    """
    tables = read_reference(path)
    found: dict[str, dict[str, list[Difference]]] = {}
    for model, of_model in runs_below(runs).items():
        for benchmark, run in of_model.items():
            try:
                table = tables.get(benchmark, {"digests": {}, "models": {}})
                expected, digests = table["models"].get(model, {}), dict(table["digests"])
                differences = [
                    _difference(name, mean, expected[name], path)
                    for name, (mean, _) in with_interval(run).items()
                    if name in expected
                ]
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}: {benchmark}: {model}: expected {EXPECTED}") from error
            if not differences:
                continue
            if what := differing_keys([digests, run.benchmarks[0]]):
                raise ValueError(
                    f"{runs}, {path}: {benchmark}: they differ in what they were evaluated on: "
                    f"{what}"
                )
            found.setdefault(benchmark, {})[model] = differences
    if not found:
        raise ValueError(f"{runs}, {path}: they share no benchmark and model")
    return found


def _difference(name: str, mean: float, expected: dict[str, Any], path: Path) -> Difference:
    other = number(expected["mean"], path, name)
    low, high = (number(end, path, name) for end in expected["interval"])
    return Difference(name, mean, other, (mean - high, mean - low))
