"""Evaluation folders: stage ``evaluate`` and ``evaluate-ijb`` write them, comparisons read them."""

import json
import reprlib
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lh2face.artifacts.file_names import METRICS
from lh2face.artifacts.provenance import PROVENANCE, people_behind
from lh2face.evaluation.comparison import Run, differing_keys
from lh2face.evaluation.protocol import Results
from lh2face.files.json_object import read_object
from lh2face.files.tables import read_numbers, write_rows

if TYPE_CHECKING:
    from lh2face.evaluation.quality import RejectCurves

# The digests in a provenance file that identify a benchmark.
BENCHMARK = ("meta", "pairs", "images.csv")
DRAWS = "draws.csv"
# Columns of reject.csv; the attributes of RejectCurves have the same names.
REJECT_COLUMNS = ("rejected", "fnmr", "fnmr_at_far")


def write_results(results: Results, metrics: dict[str, Any], folder: Path) -> None:
    """Write ``metrics.json``, ``roc.csv``, ``cmc.csv``, and the bootstrap as ``draws.csv``."""
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    write_curve(folder / "roc.csv", ("far", "tar"), results.roc)
    write_rows(folder / "cmc.csv", ("rank", "rate"), enumerate(list(results.cmc), start=1))
    columns = (draws.tolist() for draws in results.draws.values())
    write_rows(folder / DRAWS, tuple(results.draws), zip(*columns, strict=True))


def write_curve(path: Path, header: Sequence[str], points: Sequence[np.ndarray]) -> None:
    """Write the points of a curve as CSV; without points, only the header."""
    write_rows(path, header, zip(*(values.tolist() for values in points), strict=True))


def write_reject(folder: Path, curves: "RejectCurves | None") -> None:
    """Write ``reject.csv``; without curves, only its header."""
    points = [getattr(curves, name) for name in REJECT_COLUMNS] if curves else []
    write_curve(folder / "reject.csv", REJECT_COLUMNS, points)


def evaluations_below(folder: Path) -> dict[str, list[Path]]:
    """Find the evaluations of a model: the folder itself, or folders at any depth below it.

    Returns:
        Their folders by the name of the benchmark, if the path ends in ``evaluation/BENCHMARK``.
        All others, such as those of ``lh2face evaluate-ijb``, have an empty name.

    Raises:
        ValueError: If there is none.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob(DRAWS)):
        evaluation = path.parent.absolute()
        # A name with a leading dot is the partial output of a run that was killed.
        if not evaluation.name.startswith("."):
            name = evaluation.name if evaluation.parent.name == "evaluation" else ""
            found.setdefault(name, []).append(path.parent)
    if not found:
        raise ValueError(f"{folder}: no {DRAWS} below it; expected a folder with evaluations")
    return found


def read_run(*evaluations: Path) -> Run:
    """Read the evaluations of a model on one benchmark, one per seed.

    Args:
        evaluations: Their folders.

    Raises:
        ValueError: If one was made without a bootstrap or is damaged, or they differ in the number
            of rounds.
    """
    draws = [_read_draws(folder / DRAWS) for folder in evaluations]
    figures = [
        _read_figures(folder / METRICS, list(names))
        for folder, names in zip(evaluations, draws, strict=True)
    ]
    rounds = {len(values) for run in draws for values in run.values()}
    if len(rounds) > 1:
        found = ", ".join(map(str, evaluations))
        raise ValueError(f"{found}: these evaluations differ in bootstrap rounds: {sorted(rounds)}")
    provenances = [folder / PROVENANCE for folder in evaluations]
    benchmarks = [_read_benchmark(path) for path in provenances]
    known = (people_behind(read_object(path, ""), path) for path in provenances if path.exists())
    people = next(filter(None, known), None)
    return Run(_stacked(figures), _stacked(draws), benchmarks, people)


def read_both(first: Path, second: Path) -> dict[str, tuple[Run, Run]]:
    """Read two runs on every benchmark that both were evaluated on.

    An evaluation without a name is compared with the only benchmark of the other run.

    Args:
        first: Folder with the evaluations of the first run, see :func:`evaluations_below`.
        second: Folder with the evaluations of the second run.

    Returns:
        Both runs by the name of the benchmark.

    Raises:
        ValueError: If no benchmark is shared, the seeds of one run were evaluated on different
            benchmarks of one name, or an evaluation cannot be read.
    """
    found = [evaluations_below(folder) for folder in (first, second)]
    names = [set(of_run) for of_run in found]
    if all(len(of_run) == 1 for of_run in names) and "" in set.union(*names):
        (name,) = names[0] - {""} or names[1]
        found = [{name: paths} for of_run in found for paths in of_run.values()]
    shared = [name for name in found[0] if name in found[1]]
    if not shared:
        has = " and ".join(", ".join(name or "one without a name" for name in n) for n in found)
        raise ValueError(f"{first}, {second}: they share no benchmark: found {has}")
    both = {}
    for name in shared:
        runs = [read_run(*of_run[name]) for of_run in found]
        for folder, run in zip((first, second), runs, strict=True):
            if what := differing_keys([of_seed for of_seed in run.benchmarks if of_seed]):
                where = f"on {name}" if name else "below it"
                raise ValueError(f"{folder}: the evaluations {where} differ in {what}")
        both[name] = runs[0], runs[1]
    return both


def _read_draws(path: Path) -> dict[str, np.ndarray]:
    """Read the draws ``(R,)`` of each figure by name; R is the number of rounds."""
    if not path.is_file():
        raise ValueError(f"{path}: not a regular file")
    found = read_numbers(path)
    if not len(next(iter(found.values()), [])):
        raise ValueError(f"{path}: no draws; evaluate with evaluate.bootstrap above 0")
    for name, values in found.items():
        if np.isnan(values).all():
            raise ValueError(f"{path}: {name!r} has no number in any round")
    return found


def _read_figures(path: Path, names: list[str]) -> dict[str, float]:
    """Read the figures with these names, which are dotted paths in ``metrics.json``."""
    metrics, figures = read_object(path, "an evaluation"), {}
    for name in names:
        value = _looked_up(metrics, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            what = f"expected a number as {reprlib.repr(name)}, which is a column of draws.csv"
            raise ValueError(f"{path}: {what}, found {reprlib.repr(value)}")
        figures[name] = value
    return figures


def _looked_up(metrics: dict[str, Any], path: str) -> Any:
    """Look up SECTION.KEY or SECTION.NAME.KEY; NAME, such as that of a list, may contain dots."""
    section, _, rest = path.partition(".")
    found = metrics.get(section)
    if not isinstance(found, dict):
        return None
    if rest in found:
        return found[rest]
    inner = (
        values.get(rest.removeprefix(f"{name}."))
        for name, values in found.items()
        if isinstance(values, dict) and rest.startswith(f"{name}.")
    )
    return next((value for value in inner if value is not None), None)


def _read_benchmark(path: Path) -> dict[str, Any]:
    """Read what identifies the benchmark of an evaluation; empty if there is no provenance."""
    if not path.exists():
        return {}
    made = read_object(path, "the provenance of an evaluation")
    try:
        benchmark = {name: made["data"][name] for name in BENCHMARK if name in made["data"]}
        return {**benchmark, "seed of the bootstrap": made["params"]["seed"]}
    except (KeyError, TypeError):
        raise ValueError(f"{path}: expected the data and params of an evaluation") from None


def _stacked(parts: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Stack the arrays of all parts, for each name that every part has."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: np.stack([part[name] for part in parts]) for name in names}
