"""Comparison of two runs: the difference in each figure, with its interval."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lh2face.evaluation.bootstrap import interval


@dataclass(frozen=True)
class Run:
    """The evaluations of a model on one benchmark, one per seed.

    Attributes:
        figures: ``(S,)`` values, one per seed, by path in ``metrics.json``.
        draws: The same figures in every round of the bootstrap, ``(S, R)``.
        benchmarks: Digests of each evaluation's benchmark and the seed of its bootstrap; empty if
            the evaluation has no provenance file.
        people: Number of people in the benchmark; ``None`` if no provenance file says it.
    """

    figures: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    benchmarks: list[dict[str, Any]] = field(default_factory=list)
    people: int | None = None


@dataclass(frozen=True)
class Difference:
    """The difference of two runs in one figure.

    Attributes:
        figure: Path of the figure in ``metrics.json``.
        first: Mean of the first run over its seeds.
        second: Mean of the second run over its seeds.
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
    """Compare every figure that both runs have.

    Each round of the bootstrap has two errors. The error of the templates is in the draws, and both
    runs share it. The error of the seeds is drawn from Student's t distribution with S − 1 degrees
    of freedom, scaled by the differences per seed: resampling so few seeds would give intervals
    that are too narrow. With a single seed, the variance between seeds is unknown and left out.

    Args:
        first: A run.
        second: Another run on the same benchmark with as many seeds.
        seed: Seed that pairs the errors of the seeds with the rounds.

    Returns:
        One difference per figure.

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
    """Compute the mean of each figure over the seeds, and its 95 % interval.

    Args:
        run: A run.
        seed: Seed that pairs the errors of the seeds with the rounds, as in :func:`compare`.

    Returns:
        Mean and interval by the path of the figure.
    """
    found = {}
    for name, draws in run.draws.items():
        values = run.figures[name]
        low, high = interval(draws.mean(axis=0) + _seed_errors(values, draws.shape[1], seed))
        found[name] = (float(values.mean()), (float(low), float(high)))
    return found


def differing_keys(benchmarks: list[dict[str, Any]]) -> str:
    """Return the keys, joined by commas, that have different values in some of the dicts."""
    keys = sorted({key for one in benchmarks for key in one})
    return ", ".join(k for k in keys if len({one[k] for one in benchmarks if k in one}) > 1)


def _seed_errors(differences: np.ndarray, rounds: int, seed: int) -> np.ndarray:
    """Draw errors ``(R,)``, one per round, of the mean of the differences ``(S,)`` of S seeds."""
    seeds = len(differences)
    if seeds == 1:
        return np.zeros(rounds)
    # Imported here: SciPy comes with the pipeline's extra, and a single seed does not need it.
    from scipy.special import stdtrit

    # Each quantile is used once: random draws would not cover the long tails of t evenly.
    levels = (np.random.default_rng(seed).permutation(rounds) + 0.5) / rounds
    drawn: np.ndarray = stdtrit(seeds - 1, levels) * differences.std(ddof=1) / seeds**0.5
    return drawn
