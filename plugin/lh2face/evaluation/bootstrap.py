"""Confidence intervals by the bootstrap over templates."""

import numpy as np

from lh2face.evaluation.roc import tar_at_far


def tar_intervals(
    scores: np.ndarray, genuine: np.ndarray, first: np.ndarray, second: np.ndarray,
    fars: list[float], *, rounds: int, seed: int, level: float = 0.95,
) -> np.ndarray:  # fmt: skip
    """Percentile intervals of TAR at FAR; templates are drawn with replacement.

    A pair counts as often as the product of how often its two templates were drawn.

    Args:
        scores: ``(P,)``.
        genuine: ``(P,)`` bool.
        first: ``(P,)`` template rows, 0 … T − 1.
        second: ``(P,)`` template rows.
        fars: F false accept rates.
        rounds: Bootstrap samples.
        seed: Seed of the draws.
        level: Confidence.

    Returns:
        ``(F, 2)`` lower and upper ends.
    """
    rng = np.random.default_rng(seed)
    templates = max(first.max(), second.max()) + 1
    draws = []
    for _ in range(rounds):
        times = np.bincount(rng.integers(templates, size=templates), minlength=templates)
        weights = times[first] * times[second]
        draws.append(tar_at_far(np.repeat(scores, weights), np.repeat(genuine, weights), fars))
    tail = (1 - level) / 2
    return np.quantile(draws, [tail, 1 - tail], axis=0).T
