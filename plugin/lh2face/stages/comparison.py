"""Evaluations on disk, and the difference of two runs with its interval."""

import csv
import json
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np

from lh2face.evaluation.bootstrap import interval


@dataclass(frozen=True)
class Run:
    """The evaluations of a model, one a seed.

    Attributes:
        figures: By path in ``metrics.json``, ``(S,)``.
        draws: The same figures in every round of the bootstrap, ``(S, R)``.
    """

    figures: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]


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
        ValueError: If there is none, one was made without a bootstrap, or they differ in rounds.
    """
    paths = [path for folder in folders for path in sorted(folder.rglob("draws.csv"))]
    if not paths:
        found = ", ".join(map(str, folders))
        raise ValueError(f"{found}: no draws.csv below it; expected a folder with evaluations")
    figures, draws = [], []
    for path in paths:
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
        if not rows:
            raise ValueError(f"{path}: no draws; evaluate with evaluate.bootstrap above 0")
        metrics = json.loads(path.with_name("metrics.json").read_text())
        draws.append(dict(zip(names, np.array(rows, float).T, strict=True)))
        figures.append({name: reduce(getitem, name.split(".", 2), metrics) for name in names})
    rounds = {len(values) for run in draws for values in run.values()}
    if len(rounds) > 1:
        found = ", ".join(map(str, folders))
        raise ValueError(f"{found}: the evaluations below it differ in rounds: {sorted(rounds)}")
    return Run(_stacked(figures), _stacked(draws))


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
        ValueError: If the runs differ in seeds or rounds, or share no figure.
    """
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
