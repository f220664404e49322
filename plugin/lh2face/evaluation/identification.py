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
# Scores that differ by less tie: identical photos differ by the rounding of a matrix product.
TIE = 1e-9
Match = Callable[[np.ndarray, slice], np.ndarray]


@dataclass(frozen=True)
class Identification:
    """Results of one gallery, or their mean.

    Attributes:
        cmc: ``(R,)`` share of mated probes whose mate is among the first 1 … R.
        tpir: ``(F,)`` true positive identification rate at each FPIR.
    """

    cmc: np.ndarray
    tpir: np.ndarray


@dataclass(frozen=True)
class Search:
    """What every probe found in one gallery.

    Attributes:
        best_mate: ``(Q,)`` highest score of a mate, −∞ without one.
        best_other: ``(Q,)`` highest score of anyone else.
        rank: ``(Q,)`` how many others score no less than the best mate. Scores that differ by less
            than ``TIE`` count as equal, here and beside thresholds, and a tie counts against the
            mate.
    """

    best_mate: np.ndarray
    best_other: np.ndarray
    rank: np.ndarray


def search(
    gallery: np.ndarray, gallery_subjects: np.ndarray, probes: np.ndarray,
    probe_subjects: np.ndarray, match: Match | None = None,
) -> Search:  # fmt: skip
    """Search every probe in one gallery, a block of probes at a time.

    Args:
        gallery: ``(G, d)`` of length 1.
        gallery_subjects: ``(G,)``.
        probes: ``(Q, d)`` of length 1.
        probe_subjects: ``(Q,)``.
        match: From the cosines ``(B, G)`` of a slice of the probes to their scores; the cosines
            themselves by default.

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
    """What each probe would find if its own subject were not in the gallery: a non-mated search.

    Args:
        gallery: As in :func:`search`, like the rest; all probes may have mates, or none.

    Returns:
        ``(Q,)`` highest score of anyone else; −∞ where there is nobody.

    Raises:
        EvaluationError: If shapes do not fit, or a number is not finite.
    """
    blocks = _blocks(gallery, gallery_subjects, probes, probe_subjects, None)
    return np.concatenate([others.max(axis=1) for _, others in blocks])


def insightface_alarms(fpir: float, probes: float) -> int:
    """How many false alarms the threshold of insightface's ``ijb_evals.py`` lets through.

    The threshold there is one of the ``int(fpir · probes)`` highest alarms, and a hit lies above
    it: one alarm fewer than the FPIR allows.
    """
    return max(int(fpir * probes) - 1, 0)


def rates(
    found: Search, fpirs: list[float], weights: np.ndarray, ranks: int = 20,
    allowed: Callable[[float, float], int] = share_of,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """CMC and TPIR with probes that count more than once, or not at all.

    Probes of subjects outside the gallery set the thresholds; a mated probe counts for TPIR if its
    mate comes first and above the threshold.

    Args:
        found: What the probes found.
        fpirs: F false positive identification rates.
        weights: ``(Q, R)`` whole numbers.
        ranks: K.
        allowed: From the FPIR and the number of non-mated probes to the number of them that may
            score above the threshold: by default as many as the FPIR allows.

    Returns:
        ``(K, R)`` and ``(F, R)``; NaN where no mated or no non-mated probe counts.

    Raises:
        EvaluationError: If shapes do not fit, or a number is none.
    """
    check_rates("fpirs", fpirs)
    check_least(1, ranks=ranks)
    _check_weights(weights, found)
    mated = found.best_mate > -np.inf
    with np.errstate(invalid="ignore"):
        among = found.rank[mated] < np.arange(1, ranks + 1)[:, None]
        mates = weights[mated].sum(axis=0)
        cmc = among.astype(np.float64) @ weights[mated] / mates

        hits, hit_weights = _falling(found.best_mate, weights, mated & (found.rank == 0))
        alarms, alarm_weights = _falling(found.best_other, weights, ~mated)
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
    """:func:`search` and :func:`rates` of one gallery, every probe once."""
    found = search(gallery, gallery_subjects, probes, probe_subjects)
    cmc, tpir = rates(found, fpirs, np.ones((len(probes), 1)), ranks)
    return Identification(cmc[:, 0], tpir[:, 0])


def merged_identification(
    gallery: np.ndarray, gallery_subjects: np.ndarray, probes: np.ndarray,
    probe_subjects: np.ndarray, fpirs: list[float], ranks: int = 20, match: Match | None = None,
) -> Identification:  # fmt: skip
    """The variant that insightface's ``ijb_1n`` prints: all galleries as one.

    There every probe has a mate, so what it calls FPIR counts impostor pairs rather than probes:
    the threshold is the ``⌈FPIR · Q⌉``-th highest impostor score of all, and a probe counts if its
    mate scores above it, first or not. Not comparable with a gallery at a time.

    Args:
        gallery: As in :func:`search`, like the rest; all galleries together.
        fpirs: False positive rates, per probe.
        ranks: R.

    Raises:
        EvaluationError: If a probe has no mate, shapes do not fit, or a number is none.
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
    """The mean of the galleries' :func:`rates`, as the IJB protocols report it.

    Args:
        found: What the same probes found in each gallery.
        fpirs: As in :func:`rates`, like the rest.
        insightface: Give the figures of insightface's ``ijb_evals.py`` instead: thresholds by
            :func:`insightface_alarms`, and a CMC that counts the mated probes of all galleries
            over all probes. TPIR is the plain mean there, too.

    Returns:
        ``(K, R)`` and ``(F, R)``.

    Raises:
        EvaluationError: As :func:`rates`, or if there is no gallery.
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
    """Best mate ``(B,)`` and scores ``(B, G)`` of the others; −∞ where there are none."""
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
    """How many of the others ``(B, G)`` score no less than the mate ``(B,)``, but for rounding."""
    ahead: np.ndarray = (others >= mate[:, None] - TIE).sum(axis=1)
    return ahead


def _check_weights(weights: np.ndarray, found: Search) -> None:
    if weights.ndim != 2 or len(weights) != len(found.rank):
        raise EvaluationError(f"weights: expected ({len(found.rank)}, R), found {weights.shape}")
    check_finite(weights=weights)
    if weights.min(initial=0) < 0:
        raise EvaluationError(f"weights: expected at least 0, found {weights.min()}")


def _falling(
    scores: np.ndarray, weights: np.ndarray, which: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores from the highest on ``(n,)``, and the weight before each and of all ``(n + 1, R)``."""
    rows = np.flatnonzero(which)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    ahead = np.zeros((len(rows) + 1, weights.shape[1]))
    np.cumsum(weights[rows], axis=0, out=ahead[1:])
    return scores[rows], ahead
