"""1:N identification: closed-set rank, and open-set TPIR at FPIR."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lh2face.evaluation.checks import (
    EvaluationError,
    check_columns,
    check_finite,
    check_least,
    check_rates,
)
from lh2face.evaluation.roc import share_of

BLOCK = 2048
# Closer scores count as tied: scores of identical photos differ by rounding in a matrix product.
TIE = 1e-9
Match = Callable[[np.ndarray, slice], np.ndarray]


@dataclass(frozen=True)
class Identification:
    """Figures of one gallery, or their mean over galleries.

    Attributes:
        cmc: ``(K,)`` share of the mated probes whose mate is among the first 1 … K candidates.
        tpir: ``(F,)`` true positive identification rate at each FPIR.
    """

    cmc: np.ndarray
    tpir: np.ndarray


@dataclass(frozen=True)
class Search:
    """Result of searching every probe in one gallery.

    Attributes:
        best_mate: ``(Q,)`` highest score of a mate; −∞ if the probe has no mate.
        best_other: ``(Q,)`` highest score of another subject; −∞ if there is none.
        rank: ``(Q,)`` number of others that score at least as high as the best mate. Scores that
            differ by less than ``TIE`` are equal, also when compared with thresholds. A tie counts
            against the mate.
    """

    best_mate: np.ndarray
    best_other: np.ndarray
    rank: np.ndarray


def search(
    gallery: np.ndarray, gallery_subjects: np.ndarray, probes: np.ndarray,
    probe_subjects: np.ndarray, match: Match | None = None,
) -> Search:  # fmt: skip
    """Search every probe in one gallery, in blocks of probes.

    Args:
        gallery: ``(G, d)`` unit vectors.
        gallery_subjects: ``(G,)`` subject of each gallery entry.
        probes: ``(Q, d)`` unit vectors.
        probe_subjects: ``(Q,)`` subject of each probe.
        match: Function from the cosines ``(B, G)`` and the slice of the probes to scores
            ``(B, G)``; by default the scores are the cosines.

    Returns:
        The scores and ranks of each probe.

    Raises:
        EvaluationError: If no probe has a mate, every probe has one, shapes do not fit, or a number
            is not finite.
    """
    blocks = [
        (mate, others.max(axis=1), _ahead(mate, others))
        for mate, others in _blocks(gallery, gallery_subjects, probes, probe_subjects, match)
    ]
    found = Search(*map(np.concatenate, zip(*blocks, strict=True)))
    mated = found.best_mate > -np.inf
    if not mated.any() or mated.all():
        kind = "non-mated" if mated.any() else "mated"
        raise EvaluationError(f"probes: there are no {kind} ones among {len(probes)}")
    return found


def best_others(
    gallery: np.ndarray, gallery_subjects: np.ndarray, probes: np.ndarray,
    probe_subjects: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Search every probe as if its subject were not in the gallery: a non-mated search.

    Args:
        gallery: ``(G, d)`` unit vectors.
        gallery_subjects: ``(G,)`` subject of each gallery entry.
        probes: ``(Q, d)`` unit vectors; all of them may have mates, or none.
        probe_subjects: ``(Q,)`` subject of each probe.

    Returns:
        ``(Q,)`` highest score of another subject; −∞ where there is none.

    Raises:
        EvaluationError: If shapes do not fit, or a number is not finite.
    """
    blocks = _blocks(gallery, gallery_subjects, probes, probe_subjects, None)
    return np.concatenate([others.max(axis=1) for _, others in blocks])


def insightface_alarms(fpir: float, probes: float) -> int:
    """Compute the number of false alarms above the threshold of insightface's ``ijb_evals.py``.

    The threshold there is the lowest of the ``int(fpir · probes)`` highest alarms, and a hit must
    be above it. So one alarm fewer than the FPIR allows is above the threshold.
    """
    return max(int(fpir * probes) - 1, 0)


def rates(
    found: Search, fpirs: list[float], weights: np.ndarray, ranks: int = 20,
    allowed: Callable[[float, float], int] = share_of,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Compute CMC and TPIR in every round of a bootstrap, where probes have integer weights.

    Probes of subjects outside the gallery set the thresholds. A mated probe counts for TPIR if its
    mate comes first and scores above the threshold.

    Args:
        found: Result of the search.
        fpirs: F false positive identification rates in [0, 1].
        weights: ``(Q, R)`` how often each probe counts in each round.
        ranks: Number K of ranks.
        allowed: Function from the FPIR and the number of non-mated probes to the number of them
            that may score above the threshold; by default as many as the FPIR allows.

    Returns:
        CMC ``(K, R)`` and TPIR ``(F, R)``; NaN where no mated or no non-mated probe counts.

    Raises:
        EvaluationError: If shapes do not fit, a rate is not in [0, 1], or a weight is negative.
    """
    check_rates("fpirs", fpirs)
    check_least(1, ranks=ranks)
    _check_weights(weights, found)
    mated = found.best_mate > -np.inf
    with np.errstate(invalid="ignore"):
        among = found.rank[mated] < np.arange(1, ranks + 1)[:, None]
        mates = weights[mated].sum(axis=0)
        cmc = among.astype(np.float64) @ weights[mated] / mates

        hits, hit_weights = _descending(found.best_mate, weights, mated & (found.rank == 0))
        alarms, alarm_weights = _descending(found.best_other, weights, ~mated)
        tpir = np.empty((len(fpirs), weights.shape[1]))
        for r in range(weights.shape[1]):
            raised = alarm_weights[-1, r]
            for f, fpir in enumerate(fpirs):
                at = np.searchsorted(alarm_weights[1:, r], allowed(fpir, raised), side="right")
                threshold = alarms[at] if at < len(alarms) else -np.inf
                accepted = hit_weights[np.searchsorted(-hits, -(threshold + TIE)), r]
                tpir[f, r] = accepted / (mates[r] if raised else np.nan)
    return cmc, tpir


def identification(
    gallery: np.ndarray, gallery_subjects: np.ndarray, probes: np.ndarray,
    probe_subjects: np.ndarray, fpirs: list[float], ranks: int = 20,
) -> Identification:  # fmt: skip
    """Compute CMC and TPIR of one gallery, with weight 1 for every probe.

    Args and errors are those of :func:`search` and :func:`rates`.
    """
    found = search(gallery, gallery_subjects, probes, probe_subjects)
    cmc, tpir = rates(found, fpirs, np.ones((len(probes), 1)), ranks)
    return Identification(cmc[:, 0], tpir[:, 0])


def merged_identification(
    gallery: np.ndarray, gallery_subjects: np.ndarray, probes: np.ndarray,
    probe_subjects: np.ndarray, fpirs: list[float], ranks: int = 20, match: Match | None = None,
) -> Identification:  # fmt: skip
    """Compute the variant that insightface's ``ijb_1n`` prints: all galleries merged into one.

    There every probe has a mate, so what it calls FPIR counts impostor pairs, not probes. The
    threshold is the ``⌈FPIR · Q⌉``-th highest of all impostor scores. A probe counts if its mate
    scores above it, whether the mate comes first or not. The figures cannot be compared with those
    of separate galleries.

    Args:
        gallery: ``(G, d)`` unit vectors of all galleries.
        gallery_subjects: ``(G,)`` subject of each gallery entry.
        probes: ``(Q, d)`` unit vectors.
        probe_subjects: ``(Q,)`` subject of each probe.
        fpirs: F false positives per probe, in [0, 1].
        ranks: Number K of ranks.
        match: See :func:`search`.

    Returns:
        CMC ``(K,)`` and TPIR ``(F,)``.

    Raises:
        EvaluationError: If a probe has no mate, shapes do not fit, a number is not finite, or a
            rate is not in [0, 1].
    """
    check_rates("fpirs", fpirs)
    check_least(1, ranks=ranks)
    wanted = [max(1, math.ceil(fpir * len(probes))) for fpir in fpirs]
    mates, ahead, highest = [], [], np.empty(0)
    for mate, others in _blocks(gallery, gallery_subjects, probes, probe_subjects, match):
        mates.append(mate)
        ahead.append(_ahead(mate, others))
        highest = np.r_[highest, others.ravel()]
        if len(highest) > max(wanted):
            highest = np.partition(highest, -max(wanted))[-max(wanted) :]
    best_mate, rank = np.concatenate(mates), np.concatenate(ahead)
    alone = np.flatnonzero(np.isneginf(best_mate))
    if alone.size:
        subject = probe_subjects[alone[0]]
        raise EvaluationError(f"probes: subject {subject} is in none of the merged galleries")
    thresholds = np.sort(highest)[::-1]
    tpir = [(best_mate > thresholds[min(k, len(highest)) - 1] + TIE).mean() for k in wanted]
    cmc = (rank[:, None] < np.arange(1, ranks + 1)).mean(axis=0)
    return Identification(cmc, np.array(tpir))


def rates_over_galleries(
    found: list[Search], fpirs: list[float], weights: np.ndarray, ranks: int = 20, *,
    insightface: bool = False,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Average :func:`rates` over the galleries, as the IJB protocols report them.

    Args:
        found: Results of searching the same probes in each gallery.
        fpirs: F false positive identification rates in [0, 1].
        weights: ``(Q, R)`` how often each probe counts in each round.
        ranks: Number K of ranks.
        insightface: Compute the figures of insightface's ``ijb_evals.py`` instead: thresholds by
            :func:`insightface_alarms`, and a CMC that divides the hits of all galleries by the
            number of all probes. TPIR is the plain mean there, too.

    Returns:
        CMC ``(K, R)`` and TPIR ``(F, R)``.

    Raises:
        EvaluationError: For the reasons of :func:`rates`, or if there is no gallery.
    """
    if not found:
        raise EvaluationError("galleries: expected at least one, found none")
    allowed = insightface_alarms if insightface else share_of
    each = [rates(one, fpirs, weights, ranks, allowed) for one in found]
    cmc, tpir = map(np.array, zip(*each, strict=True))
    if not insightface:
        return cmc.mean(axis=0), tpir.mean(axis=0)
    mates = np.array([weights[one.best_mate > -np.inf].sum(axis=0) for one in found])
    with np.errstate(invalid="ignore"):
        return (cmc * mates[:, None]).sum(axis=0) / weights.sum(axis=0), tpir.mean(axis=0)


def _blocks(
    gallery: np.ndarray, gallery_subjects: np.ndarray, probes: np.ndarray,
    probe_subjects: np.ndarray, match: Match | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """Yield per block the best mate's score ``(B,)`` and the others' ``(B, G)``, −∞ for none."""
    check_columns(gallery_subjects=gallery_subjects)
    check_columns(probe_subjects=probe_subjects)
    check_finite(gallery=gallery, probes=probes)
    d = gallery.shape[-1]
    if gallery.shape != (len(gallery_subjects), d) or probes.shape != (len(probe_subjects), d):
        raise EvaluationError(
            f"gallery: {gallery.shape} of {len(gallery_subjects)} subjects does not fit "
            f"probes: {probes.shape} of {len(probe_subjects)} subjects"
        )
    gallery, probes = gallery.astype(np.float64, copy=False), probes.astype(np.float64, copy=False)
    for start in range(0, len(probes), BLOCK):
        rows = slice(start, start + BLOCK)
        scores = probes[rows] @ gallery.T
        if match:
            scores = match(scores, rows)
            check_finite(scores=scores)
        mates = probe_subjects[rows, None] == gallery_subjects
        best = np.max(scores, axis=1, where=mates, initial=-np.inf)
        scores[mates] = -np.inf
        yield best, scores


def _ahead(mate: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Count the others ``(B, G)`` that score at least as high as the mate ``(B,)``, up to TIE."""
    ahead: np.ndarray = (others >= mate[:, None] - TIE).sum(axis=1)
    return ahead


def _check_weights(weights: np.ndarray, found: Search) -> None:
    if weights.ndim != 2 or len(weights) != len(found.rank):
        raise EvaluationError(f"weights: expected ({len(found.rank)}, R), found {weights.shape}")
    check_finite(weights=weights)
    if weights.min(initial=0) < 0:
        raise EvaluationError(f"weights: expected at least 0, found {weights.min()}")


def _descending(
    scores: np.ndarray, weights: np.ndarray, which: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sort scores descending ``(n,)``; return them and their cumulative weights ``(n + 1, R)``."""
    rows = np.flatnonzero(which)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    ahead = np.zeros((len(rows) + 1, weights.shape[1]))
    np.cumsum(weights[rows], axis=0, out=ahead[1:])
    return scores[rows], ahead
