"""Evaluations on disk, and the difference of two runs with its interval."""

import csv
import json
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np

from lh2face.evaluation.bootstrap import difference_interval

TITLES = {
    "verification.tar": "TAR at FAR {}",
    "identification.rank": "rank-{}",
    "identification.tpir": "TPIR at FPIR {}",
    "conditions": "{} TAR at FAR {}",
}
REJECT_AREA = "reject.area"
# All other figures are rates of what goes right.
LESS_IS_BETTER = {REJECT_AREA}


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


def title(path: str) -> str:
    """How people name a figure of ``metrics.json``: "TAR at FAR 1e-4", "profile accuracy"."""
    if path == REJECT_AREA:
        return "reject-curve area"
    section, name, key = path.split(".", 2)
    if section == "bins":
        return f"{name} {key}".replace("_", " ")
    if section != "identification" and float(key) < 0.1:
        key = f"{float(key):.0e}".replace("e-0", "e-")
    if section == "conditions":
        return TITLES[section].format(name.replace("_", " "), key)
    return TITLES[f"{section}.{name}"].format(key)


def read_run(*folders: Path) -> Run:
    """All evaluations in a folder: an evaluation's own, that of a seed, or of a model.

    Of several folders, such as those of a cross-validation, they are taken together.

    Raises:
        ValueError: If there is none, or it was made without a bootstrap.
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
    return Run(_stacked(figures), _stacked(draws))


def compare(first: Run, second: Run, seed: int = 0) -> list[Difference]:
    """Every figure that both runs have.

    A round takes its templates from the draws and draws the seeds too, the same for both runs, so
    that the interval covers the luck of either.

    Args:
        first: A run.
        second: Another on the same benchmark, of as many seeds.
        seed: Seed of the seeds' draw.

    Raises:
        ValueError: If the runs differ in seeds or rounds, or share no figure.
    """
    shared = [name for name in first.draws if name in second.draws]
    if not shared:
        raise ValueError("the runs share no figure; were they made on the same benchmark?")
    shapes = {run.draws[shared[0]].shape for run in (first, second)}
    if len(shapes) > 1:
        raise ValueError(f"the runs differ in (seeds, rounds): {sorted(shapes)}")
    seeds, rounds = shapes.pop()
    chosen = np.random.default_rng(seed).integers(seeds, size=(seeds, rounds))

    def drawn(run: Run, name: str) -> np.ndarray:
        return np.take_along_axis(run.draws[name], chosen, axis=0).mean(axis=0)

    return [
        Difference(
            name,
            float(first.figures[name].mean()),
            float(second.figures[name].mean()),
            tuple(difference_interval(drawn(first, name), drawn(second, name)).tolist()),
        )
        for name in shared
    ]


def _stacked(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One array a name that all parts have."""
    names = reduce(lambda left, right: [name for name in left if name in right], parts)
    return {name: np.stack([part[name] for part in parts]) for name in names}
