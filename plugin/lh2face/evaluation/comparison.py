"""The difference of two runs in each figure, with its interval."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lh2face.evaluation.bootstrap import interval


@dataclass(frozen=True)
class Run:
    """The evaluations of a model on one benchmark, one per seed.

    Attributes:
        figures: By path in ``metrics.json``, ``(S,)``.
        draws: The same figures in every round of the bootstrap, ``(S, R)``.
        benchmarks: Digests of each evaluation's benchmark, and the seed of its bootstrap; empty
            where no provenance lies beside it.
        people: Number of people that the benchmark shows; ``None`` where no provenance says it.
    """

    figures: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    benchmarks: list[dict[str, Any]] = field(default_factory=list)
    people: int | None = None


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


def compare(first: Run, second: Run, seed: int = 0) -> list[Difference]:
    """Every figure that both runs have.

    A round adds two errors. That of the templates is in the draws, the same for both runs. That of
    the seeds is drawn from Student's t distribution of the differences per seed, with S − 1 degrees
    of freedom: resampling so few seeds would give intervals that are too narrow. A single seed says
    nothing about the variance between seeds.

    Args:
        first: A run.
        second: Another on the same benchmark, of as many seeds.
        seed: Seed of the order in which errors of the seeds meet the rounds.

    Raises:
        ValueError: If the runs differ in benchmark, seeds or rounds, or share no figure.
    """
    for one, other in zip(first.benchmarks, second.benchmarks, strict=False):
        if one and other and (what := differing_keys([one, other])):
            raise ValueError(f"the runs differ in what they were evaluated on: {what}")
    shared = [name for name in first.draws if name in second.draws]
    if not shared:
        raise ValueError("the runs share no figure; were they made on the same benchmark?")
    shapes = {run.draws[shared[0]].shape for run in (first, second)}
    if len(shapes) > 1:
        raise ValueError(f"the runs differ in (seeds, rounds): {sorted(shapes)}")
    rounds = shapes.pop()[1]

    def difference(name: str) -> Difference:
        errors = _seed_errors(first.figures[name] - second.figures[name], rounds, seed)
        drawn = (first.draws[name] - second.draws[name]).mean(axis=0) + errors
        one, other = (float(run.figures[name].mean()) for run in (first, second))
        low, high = interval(drawn).tolist()
        return Difference(name, one, other, (low, high))

    return [difference(name) for name in shared]


def with_interval(run: Run, seed: int = 0) -> dict[str, tuple[float, tuple[float, float]]]:
    """The mean of each figure over the seeds, and its 95 % interval.

    Args:
        run: A run.
        seed: As for :func:`compare`.
    """
    found = {}
    for name, draws in run.draws.items():
        values = run.figures[name]
        low, high = interval(draws.mean(axis=0) + _seed_errors(values, draws.shape[1], seed))
        found[name] = (float(values.mean()), (float(low), float(high)))
    return found


def differing_keys(benchmarks: list[dict[str, Any]]) -> str:
    """The keys whose values are not the same wherever they are."""
    keys = sorted({key for one in benchmarks for key in one})
    return ", ".join(k for k in keys if len({one[k] for one in benchmarks if k in one}) > 1)


def _seed_errors(differences: np.ndarray, rounds: int, seed: int) -> np.ndarray:
    """Errors ``(R,)`` of the mean of the differences ``(S,)`` of S seeds, one per round."""
    seeds = len(differences)
    if seeds == 1:
        return np.zeros(rounds)
    # Of the pipeline's packages, which evaluations of one model each do without.
    from scipy.special import stdtrit

    # Every quantile once: random draws of so long a tail would miss its ends.
    levels = (np.random.default_rng(seed).permutation(rounds) + 0.5) / rounds
    drawn: np.ndarray = stdtrit(seeds - 1, levels) * differences.std(ddof=1) / seeds**0.5
    return drawn
