"""Evaluations on disk, and the difference of two runs with its interval."""

import csv
import reprlib
from dataclasses import dataclass, field
from functools import reduce
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from lh2face.artifacts.json_object import read_object
from lh2face.artifacts.provenance import PROVENANCE
from lh2face.evaluation.bootstrap import interval

# What tells one benchmark from another, among the digests that evaluations leave.
BENCHMARK = ("meta", "pairs", "images.csv")


@dataclass(frozen=True)
class Run:
    """The evaluations of a model, one a seed.

    Attributes:
        figures: By path in ``metrics.json``, ``(S,)``.
        draws: The same figures in every round of the bootstrap, ``(S, R)``.
        benchmarks: Digests of each evaluation's benchmark, and the seed of its bootstrap; empty
            where no provenance lies beside it.
    """

    figures: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    benchmarks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """A figure of two runs.

    Attributes:
        figure: Its path in ``metrics.json``.
        first: Mean over the seeds.
        second: Likewise.
        interval: 95 % interval of first − second.
    """

    figure: str
    first: float
    second: float
    interval: tuple[float, float]

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        low, high = self.interval
        return low > 0 or high < 0


def read_run(*folders: Path) -> Run:
    """All evaluations in a folder: an evaluation's own, that of a seed, or of a model.

    Of several folders, such as those of a cross-validation, they are taken together.

    Raises:
        ValueError: If there is none, one was made without a bootstrap or is damaged, or they differ
            in rounds.
    """
    paths = [path for folder in folders for path in sorted(folder.rglob("draws.csv"))]
    if not paths:
        found = ", ".join(map(str, folders))
        raise ValueError(f"{found}: no draws.csv below it; expected a folder with evaluations")
    draws = [_read_draws(path) for path in paths]
    figures = [
        _read_figures(path.with_name("metrics.json"), list(names))
        for path, names in zip(paths, draws, strict=True)
    ]
    rounds = {len(values) for run in draws for values in run.values()}
    if len(rounds) > 1:
        found = ", ".join(map(str, folders))
        raise ValueError(f"{found}: the evaluations below it differ in rounds: {sorted(rounds)}")
    benchmarks = [_read_benchmark(path.with_name(PROVENANCE)) for path in paths]
    return Run(_stacked(figures), _stacked(draws), benchmarks)


def compare(first: Run, second: Run, seed: int = 0) -> list[Difference]:
    """Every figure that both runs have.

    A round takes its templates from the draws, the same for both runs, and the luck of the seeds
    from Student's t of the differences seed by seed, S − 1 degrees of freedom: resampling so few
    seeds would give intervals that are too narrow. A single seed says nothing of its luck.

    Args:
        first: A run.
        second: Another on the same benchmark, of as many seeds.
        seed: Seed of the order of the luck's draws.

    Raises:
        ValueError: If the runs differ in benchmark, seeds or rounds, or share no figure.
    """
    for one, other in zip(first.benchmarks, second.benchmarks, strict=False):
        if one and other and one != other:
            what = ", ".join(sorted(key for key in one | other if one.get(key) != other.get(key)))
            raise ValueError(f"the runs differ in what they were evaluated on: {what}")
    shared = [name for name in first.draws if name in second.draws]
    if not shared:
        raise ValueError("the runs share no figure; were they made on the same benchmark?")
    shapes = {run.draws[shared[0]].shape for run in (first, second)}
    if len(shapes) > 1:
        raise ValueError(f"the runs differ in (seeds, rounds): {sorted(shapes)}")
    rounds = shapes.pop()[1]

    def difference(name: str) -> Difference:
        luck = _luck(first.figures[name] - second.figures[name], rounds, seed)
        drawn = (first.draws[name] - second.draws[name]).mean(axis=0) + luck
        means = (float(run.figures[name].mean()) for run in (first, second))
        return Difference(name, *means, tuple(interval(drawn).tolist()))

    return [difference(name) for name in shared]


def _read_draws(path: Path) -> dict[str, np.ndarray]:
    """The rounds ``(R,)`` of each figure."""
    if not path.is_file():
        raise ValueError(f"{path}: not a regular file")
    names: list[str] = []
    draws = []
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.reader(file)
        try:
            for row in filter(None, rows):
                if not names:
                    names = row
                    continue
                draws.append(np.array(row, float))
                if draws[-1].shape != (len(names),) or np.isinf(draws[-1]).any():
                    raise ValueError
        except (csv.Error, ValueError):
            what = f"expected {len(names)} numbers"
            raise ValueError(f"{path}:{rows.line_num}: {what}") from None
    if len(set(names)) < len(names):
        raise ValueError(f"{path}:1: expected each figure once")
    if not draws:
        raise ValueError(f"{path}: no draws; evaluate with evaluate.bootstrap above 0")
    found = dict(zip(names, np.array(draws).T, strict=True))
    for name, values in found.items():
        if np.isnan(values).all():
            raise ValueError(f"{path}: {name!r} has no number in any round")
    return found


def _read_figures(path: Path, names: list[str]) -> dict[str, float]:
    """The figures of these names."""
    metrics, figures = read_object(path, "an evaluation"), {}
    for name in names:
        value = metrics
        for key in name.split(".", 2):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            what = f"expected a number as {reprlib.repr(name)}, which draws.csv has"
            raise ValueError(f"{path}: {what}, found {reprlib.repr(value)}")
        figures[name] = value
    return figures


def _read_benchmark(path: Path) -> dict[str, Any]:
    """What an evaluation was made on, as far as its provenance says."""
    if not path.exists():
        return {}
    made = read_object(path, "the provenance of an evaluation")
    try:
        benchmark = {name: made["data"][name] for name in BENCHMARK if name in made["data"]}
        return {**benchmark, "seed of the bootstrap": made["params"]["seed"]}
    except (KeyError, TypeError):
        raise ValueError(f"{path}: expected the data and params of an evaluation") from None


def _luck(differences: np.ndarray, rounds: int, seed: int) -> np.ndarray:
    """Draws ``(R,)`` of the error of the mean of differences ``(S,)``, one a seed."""
    seeds = len(differences)
    if seeds == 1:
        return np.zeros(rounds)
    # Of the pipeline's packages, which evaluations of one model each do without.
    from scipy.special import stdtrit

    # Every quantile once: random draws of so long a tail would miss its ends.
    levels = (np.random.default_rng(seed).permutation(rounds) + 0.5) / rounds
    drawn: np.ndarray = stdtrit(seeds - 1, levels) * differences.std(ddof=1) / seeds**0.5
    return drawn


def _stacked(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One array a name that all parts have."""
    names = reduce(lambda left, right: [name for name in left if name in right], parts)
    return {name: np.stack([part[name] for part in parts]) for name in names}
