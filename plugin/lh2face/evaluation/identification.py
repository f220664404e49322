"""1:N identification: closed-set rank, and open-set TPIR at FPIR."""

from dataclasses import dataclass

import numpy as np

from lh2face.evaluation.ijb import EvaluationError


@dataclass(frozen=True)
class Identification:
    """Results of one gallery, or their mean.

    Attributes:
        cmc: ``(R,)`` share of mated probes whose mate is among the first 1 … R.
        tpir: ``(F,)`` true positive identification rate at each FPIR.
    """

    cmc: np.ndarray
    tpir: np.ndarray


def identification(
    gallery: np.ndarray, gallery_subjects: np.ndarray, probes: np.ndarray,
    probe_subjects: np.ndarray, fpirs: list[float], ranks: int = 20,
) -> Identification:  # fmt: skip
    """Search every probe in one gallery.

    Probes of subjects outside the gallery set the thresholds; a mated probe counts for TPIR if its
    mate comes first and above the threshold.

    Args:
        gallery: ``(G, d)`` of length 1.
        gallery_subjects: ``(G,)``.
        probes: ``(Q, d)`` of length 1.
        probe_subjects: ``(Q,)``.
        fpirs: False positive identification rates.
        ranks: R.

    Raises:
        EvaluationError: If no probe has a mate, or every probe has one.
    """
    scores = probes @ gallery.T
    mates = probe_subjects[:, None] == gallery_subjects
    mated = mates.any(axis=1)
    if not mated.any() or mated.all():
        kind = "non-mated" if mated.any() else "mated"
        raise EvaluationError(f"probes: there are no {kind} ones among {len(probes)}")
    best_mate = np.where(mates, scores, -np.inf)[mated].max(axis=1)
    rank = (np.where(mates, -np.inf, scores)[mated] >= best_mate[:, None]).sum(axis=1)
    cmc = (rank[:, None] < np.arange(1, ranks + 1)).mean(axis=0)
    alarms = np.sort(scores[~mated].max(axis=1))[::-1]
    tpir = []
    for fpir in fpirs:
        allowed = int(fpir * len(alarms))
        threshold = alarms[allowed] if allowed < len(alarms) else -np.inf
        tpir.append(((rank == 0) & (best_mate > threshold)).mean())
    return Identification(cmc, np.array(tpir))


def mean_over_galleries(results: list[Identification]) -> Identification:
    """The mean of the galleries' results, as the IJB protocols report it."""
    return Identification(
        np.mean([r.cmc for r in results], axis=0), np.mean([r.tpir for r in results], axis=0)
    )
