"""Confidence intervals by the bootstrap over templates.

A template that is drawn k times has weight k; a pair has the product of its templates' weights.
All rounds are computed together from the weights ``(T, R)``. Two runs that are evaluated with the
same weights are paired: the error that both have from the draw of templates cancels in their
difference.
"""

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from lh2face.evaluation.checks import (
    EvaluationError,
    check_columns,
    check_finite,
    check_least,
    check_pairs,
    check_rates,
)
from lh2face.evaluation.pooling import group_sums

CHUNK = 2048
PAIRS = 1 << 22
# First guess of the factor by which a round needs more impostor pairs for a FAR than the full list.
MARGIN = 1.25


def draw_weights(templates: int, *, rounds: int, seed: int) -> np.ndarray:
    """Draw templates with replacement, and count how often each is drawn in each round.

    Args:
        templates: Number of templates, at least 1.
        rounds: Number of rounds, at least 1.
        seed: Seed, at least 0.

    Returns:
        ``(templates, rounds)`` float32, whole numbers.

    Raises:
        EvaluationError: If there are no templates or rounds, or the seed is negative.
    """
    check_least(1, templates=templates, rounds=rounds)
    check_least(0, seed=seed)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(templates, size=templates) for _ in range(rounds))
    counts = [np.bincount(draw, minlength=templates) for draw in draws]
    return np.stack(counts, axis=1).astype(np.float32)


def interval(draws: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Compute the percentile interval over the last axis.

    Args:
        draws: ``(…, R)`` values, one per round; NaN where a round has no value.
        level: Confidence level in (0, 1).

    Returns:
        ``(…, 2)`` lower and upper ends; NaN where no round has a value.

    Raises:
        EvaluationError: If there are no rounds, one is infinite, or the level is not in (0, 1).
    """
    if not draws.size:
        raise EvaluationError(f"draws: expected at least one round, found {draws.shape}")
    if np.isinf(draws).any():
        raise EvaluationError("draws: expected finite numbers or NaN, found an infinite one")
    if not 0 < level < 1:
        raise EvaluationError(f"level: expected a share between 0 and 1, found {level}")
    tail = (1 - level) / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return np.moveaxis(np.nanquantile(draws, [tail, 1 - tail], axis=-1), 0, -1)


def tar_draws(
    scores: np.ndarray, genuine: np.ndarray, first: np.ndarray, second: np.ndarray,
    fars: Sequence[float], weights: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Compute TAR at FAR in every round of the bootstrap.

    The threshold is the impostor score with the weighted FAR nearest to the wanted one. Only the
    impostors with the highest scores are sorted, as many as the largest FAR needs. Of the others
    only the total weight is computed.

    Args:
        scores: ``(P,)`` scores of the pairs.
        genuine: ``(P,)`` bool, whether a pair shows one person.
        first: ``(P,)`` rows of the first templates, 0 … T − 1.
        second: ``(P,)`` rows of the second templates, 0 … T − 1.
        fars: F false accept rates in [0, 1].
        weights: ``(T, R)`` from :func:`draw_weights`.

    Returns:
        ``(F, R)`` true accept rates; NaN in rounds without genuine or without impostor pairs.

    Raises:
        EvaluationError: If shapes or types do not fit, a number is not finite, a rate is not in
            [0, 1], or a pair names a row outside of the weights.
    """
    check_pairs(scores, genuine=genuine)
    check_columns(genuine=genuine, first=first, second=second)
    check_rates("fars", fars)
    check_finite(weights=weights)
    lowest, highest = (f([f(first), f(second)]) for f in (np.min, np.max))
    if weights.ndim != 2 or not 0 <= lowest <= highest < len(weights) or weights.min(initial=0) < 0:
        raise EvaluationError(
            f"weights: expected (T, R), none below 0, T above {highest}, found {weights.shape}"
        )
    table = torch.from_numpy(weights)
    mates = _Ranking(scores, first, second, np.flatnonzero(genuine), table)
    impostor_weight = _total(first, second, weights) - mates.ahead[-1]
    share = min(1, MARGIN * max(fars))
    rounds = range(weights.shape[1])
    counted = impostor_weight > 0
    while True:
        lowest = int((1 - share) * len(scores))
        floor = np.partition(scores, lowest)[lowest]
        top = np.flatnonzero((scores >= floor) & ~genuine)
        others = _Ranking(scores, first, second, top, table)
        # The lower impostors are not needed, unless a round has its threshold among them.
        if share == 1 or (others.ahead[-1] > max(fars) * impostor_weight)[counted].all():
            thresholds = np.array(
                [[others.threshold(far * impostor_weight[r], r) for r in rounds] for far in fars]
            )
            if share == 1 or np.isfinite(thresholds[:, counted]).all():
                break
        share = min(1, 2 * share)
    accepted = np.array([[mates.above(row[r], r) for r in rounds] for row in thresholds])
    with np.errstate(invalid="ignore"):
        return accepted / np.where(counted, mates.ahead[-1], np.nan)


class _Ranking:
    """Pairs in descending order of score, with their cumulative weights in every round.

    Attributes:
        scores: ``(n,)`` scores, descending.
        ahead: ``(C + 1, R)`` float64, total weight of the pairs before each chunk, and of all.
    """

    def __init__(
        self, scores: np.ndarray, first: np.ndarray, second: np.ndarray, which: np.ndarray,
        weights: torch.Tensor,
    ) -> None:  # fmt: skip
        which = which[np.argsort(-scores[which], kind="stable")]
        self.scores = scores[which]
        self._falling = -self.scores
        self._rounds = weights.T.contiguous()
        self._first, self._second = (torch.from_numpy(side[which]) for side in (first, second))
        sums = [
            (weights[self._first[at : at + CHUNK]] * weights[self._second[at : at + CHUNK]])
            .sum(0)
            .numpy()
            for at in range(0, len(which), CHUNK)
        ]
        self.ahead = np.cumsum([np.zeros(weights.shape[1]), *sums], axis=0, dtype=np.float64)

    def _running(self, chunk: int, r: int) -> np.ndarray:
        """Compute the cumulative weights up to each pair of a chunk and of the next, inclusive."""
        pairs = slice(chunk * CHUNK, (chunk + 2) * CHUNK)
        times = self._rounds[r]
        weights = times[self._first[pairs]] * times[self._second[pairs]]
        before: float = self.ahead[chunk, r]
        return before + np.cumsum(weights.numpy(), dtype=np.float64)

    def above(self, threshold: float, r: int) -> float:
        """Compute the weight of the pairs whose score is above the threshold."""
        return self._first_pairs(int(np.searchsorted(self._falling, -threshold)), r)

    def _first_pairs(self, count: int, r: int) -> float:
        """Compute the weight of the first ``count`` pairs, which have the highest scores."""
        chunk, rest = divmod(count, CHUNK)
        weight: float = self._running(chunk, r)[rest - 1] if rest else self.ahead[chunk, r]
        return weight

    def threshold(self, wanted: float, r: int) -> float:
        """Find the score above which the weight of the pairs is nearest to the wanted weight.

        Pairs with equal scores are on the same side. The result is −∞ if all pairs are needed; of
        two equally near scores, it is the lower one.
        """
        if not len(self.scores):
            return -np.inf
        # The first pair at which the cumulative weight reaches the wanted one.
        crossing = min(max(1, self._count(wanted, "left", r)), len(self.scores)) - 1
        score = self._falling[crossing]
        before, after = (
            self._first_pairs(int(np.searchsorted(self._falling, score, side)), r)
            for side in ("left", "right")
        )
        nearest = before if wanted - before < after - wanted else after
        # Skip the following pairs of weight 0: accepting them changes nothing.
        following = self._count(nearest, "right", r) - 1
        return self.scores[following] if following < len(self.scores) else -np.inf

    def _count(self, weight: float, side: Literal["left", "right"], r: int) -> int:
        """Find the insertion index of a weight in the cumulative weights of 0, 1, 2, … pairs."""
        chunk = max(0, int(np.searchsorted(self.ahead[:, r], weight, side)) - 1)
        running = np.r_[self.ahead[chunk, r], self._running(chunk, r)]
        return chunk * CHUNK + int(np.searchsorted(running, weight, side))


def _total(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the total weight of all pairs, ``(R,)``, by the partners of each first template."""
    total = np.zeros(weights.shape[1])
    for at in range(0, len(first), PAIRS):
        # NumPy's stable sort of 16-bit integers is a fast radix sort.
        a = first[at : at + PAIRS].astype(np.min_scalar_type(len(weights)))
        order = np.argsort(a, kind="stable")
        a = a[order]
        starts = np.flatnonzero(np.r_[True, a[1:] != a[:-1]])
        partners = group_sums(weights, starts, second[at : at + PAIRS][order])
        total += np.einsum("ij,ij->j", weights[a[starts]], partners, dtype=np.float64)
    return total
