"""The IJB-B and IJB-C protocols: from embeddings to figures with bootstrap intervals."""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

from lh2face.data.ijb_meta import IJBMeta
from lh2face.evaluation.bootstrap import draw_weights, interval, tar_draws
from lh2face.evaluation.checks import EvaluationError, check_least, check_rates
from lh2face.evaluation.features import FaceFeatures, concentrations
from lh2face.evaluation.identification import (
    Identification,
    Match,
    merged_identification,
    rates_over_galleries,
    search,
)
from lh2face.evaluation.matching import mutual_likelihood
from lh2face.evaluation.pooling import pool_media
from lh2face.evaluation.roc import roc_curve, tar_figures, thinned
from lh2face.evaluation.scores import template_rows, verification_scores

FPIRS = [0.01, 0.1]
RANKS = (1, 5, 10)
# More rounds hardly change the intervals; at this many, IJB-C's weights take a gigabyte.
MOST_ROUNDS = 10_000


@dataclass(frozen=True)
class Protocol:
    """Options of the protocol and of its figures.

    Attributes:
        flip: Average the embeddings of the image and of its mirror image.
        norm: Keep the norms of the embeddings (insightface's N1).
        detector_score: Multiply by the detector score (insightface's D1).
        pooling: Mean over the faces of a medium: "mean" is plain, "kappa" is weighted by κ.
        matching: Score of a pair of templates. The κ of a template is the norm of its pooled sum.
        vmf_dim: Dimension n of the vMF distribution, at least 2.
        galleries: "each" searches the galleries one by one and averages their figures. "merged"
            joins them into one, as insightface's ``ijb_1n`` does; the figures are not comparable.
        formulas: "definition" computes figures by their definition. "insightface" computes 1:N
            figures and the accuracy of verification bins as insightface's ``ijb_evals.py`` and
            ``eval/verification.py`` do.
        far: False accept rates at which TAR is reported, each in [0, 1].
        bootstrap: Rounds of the bootstrap over templates, 2 to 10 000; 0 for no intervals.
        seed: Seed of the bootstrap, at least 0.

    Raises:
        EvaluationError: If a value is outside of its range.
    """

    flip: bool = True
    norm: bool = True
    detector_score: bool = True
    pooling: Literal["mean", "kappa"] = "mean"
    matching: Literal["cosine", "mutual_likelihood"] = "cosine"
    vmf_dim: int = 256
    galleries: Literal["each", "merged"] = "each"
    formulas: Literal["definition", "insightface"] = "definition"
    far: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    bootstrap: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(2, vmf_dim=self.vmf_dim)
        check_least(0, seed=self.seed)
        check_rates("far", self.far)
        if self.bootstrap != 0 and not 2 <= self.bootstrap <= MOST_ROUNDS:
            raise EvaluationError(
                f"bootstrap: expected 0, or 2 to {MOST_ROUNDS}, found {self.bootstrap}"
            )
        for name, hint in get_type_hints(Protocol).items():
            allowed, found = get_args(hint), getattr(self, name)
            if isinstance(found, str) and found not in allowed:
                raise EvaluationError(f"{name}: expected one of {allowed}, found {found!r}")


@dataclass(frozen=True)
class Results:
    """Results of the protocol.

    Attributes:
        figures: ``verification.tar`` by FAR, ``identification.rank`` by rank and
            ``identification.tpir`` by FPIR. A TAR is None where its FAR is below one impostor pair.
        draws: The same figures in every round of the bootstrap, ``(R,)`` by path. Two runs with the
            same lists and seed are paired.
        roc: FAR and TAR, sampled for a plot.
        cmc: ``(20,)`` identification rates at ranks 1 … 20.
        scores: ``(P,)`` scores of the pairs, in the order of the list.
    """

    figures: dict[str, Any]
    draws: dict[str, np.ndarray]
    roc: tuple[np.ndarray, np.ndarray]
    cmc: np.ndarray
    scores: np.ndarray


def run_protocol(embeddings: np.ndarray, meta: IJBMeta, protocol: Protocol) -> Results:
    """Evaluate the embeddings of a benchmark's faces: 1:1 and 1:N figures.

    Args:
        embeddings: ``(N, V, d)`` of the image and, where V = 2, of its mirror image, in the order
            of the lists; may be memory-mapped.
        meta: Lists of faces, templates, pairs, galleries and probes.
        protocol: Options of the protocol.

    Returns:
        Figures, bootstrap draws and curves.

    Raises:
        EvaluationError: If embeddings and lists do not fit together, or cannot be evaluated.
    """
    if len(embeddings) != len(meta.names):
        raise EvaluationError(f"embeddings: {len(embeddings)} for {len(meta.names)} faces")
    features = FaceFeatures(
        embeddings, meta.detector_score,
        flip=protocol.flip, norm=protocol.norm, score=protocol.detector_score,
    )  # fmt: skip
    weights = concentrations(embeddings) if protocol.pooling == "kappa" else None
    templates, ids = pool_media(features, meta.template_ids, meta.media_ids, weights)
    kappa = np.linalg.norm(templates, axis=1)
    templates /= np.where(kappa == 0, 1, kappa)[:, None]
    drawn = None
    if protocol.bootstrap:
        drawn = draw_weights(len(ids), rounds=protocol.bootstrap, seed=protocol.seed)
    scores = verification_scores(templates, ids, meta.first, meta.second)
    if protocol.matching == "mutual_likelihood":
        first, second = (kappa[template_rows(ids, side)] for side in (meta.first, meta.second))
        scores = mutual_likelihood(scores, first, second, protocol.vmf_dim)
    verification, roc, draws = _verify(scores, ids, meta, protocol, drawn)
    one_to_many, cmc, more = _identify(templates, kappa, ids, meta, protocol, drawn)
    figures = {"verification": verification, "identification": one_to_many}
    return Results(figures, draws | more, roc, cmc, scores)


def _verify(
    scores: np.ndarray, ids: np.ndarray, meta: IJBMeta, protocol: Protocol,
    drawn: np.ndarray | None,
) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    genuine = int(meta.genuine.sum())
    impostor = len(scores) - genuine
    roc = roc_curve(scores, meta.genuine)
    figures = {
        "tar": tar_figures(*roc, protocol.far, impostor),
        "genuine": genuine,
        "impostor": impostor,
    }
    draws = {}
    fars = [far for far in protocol.far if far * impostor >= 1]
    if drawn is not None and fars:
        first, second = (template_rows(ids, side) for side in (meta.first, meta.second))
        found = tar_draws(scores, meta.genuine, first, second, fars, drawn)
        draws = _named("verification.tar", fars, found)
        figures["tar_interval"] = _intervals(fars, found)
    return figures, thinned(*roc), draws


def _identify(
    templates: np.ndarray, kappa: np.ndarray, ids: np.ndarray, meta: IJBMeta, protocol: Protocol,
    drawn: np.ndarray | None,
) -> tuple[dict[str, Any], np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
    of_probes = template_rows(ids, meta.probes.template_ids)
    galleries = {
        name: (template_rows(ids, gallery.template_ids), gallery.subject_ids)
        for name, gallery in meta.galleries.items()
    }
    if protocol.galleries == "merged":
        rows, subjects = map(np.concatenate, zip(*galleries.values(), strict=True))
        galleries = {"merged": (rows, subjects)}

    def match_with(rows: np.ndarray) -> Match | None:
        if protocol.matching == "cosine":
            return None
        return lambda cos, probes: mutual_likelihood(
            cos, kappa[of_probes[probes], None], kappa[rows], protocol.vmf_dim
        )

    arguments = [
        (templates[rows], subjects, templates[of_probes], meta.probes.subject_ids, match_with(rows))
        for rows, subjects in galleries.values()
    ]
    draws = {}
    if protocol.galleries == "merged":
        gallery, subjects, probes, probe_subjects, match = arguments[0]
        result = merged_identification(
            gallery, subjects, probes, probe_subjects, FPIRS, match=match
        )
    else:
        found = [search(*lists) for lists in arguments]
        insightface = protocol.formulas == "insightface"
        once = np.ones((len(of_probes), 1))
        result = Identification(
            *(
                each[:, 0]
                for each in rates_over_galleries(found, FPIRS, once, insightface=insightface)
            )
        )
        if drawn is not None:
            cmc, tpir = rates_over_galleries(
                found, FPIRS, drawn[of_probes], insightface=insightface
            )
            draws = _named("identification.rank", RANKS, cmc[np.array(RANKS) - 1])
            draws |= _named("identification.tpir", FPIRS, tpir)
    figures = {
        "galleries": list(galleries),
        "rank": {str(rank): float(result.cmc[rank - 1]) for rank in RANKS},
        "tpir": dict(zip(map(str, FPIRS), result.tpir.tolist(), strict=True)),
    }
    if draws:
        figures["rank_interval"] = _intervals(RANKS, cmc[np.array(RANKS) - 1])
        figures["tpir_interval"] = _intervals(FPIRS, tpir)
    return figures, result.cmc, draws


def _named(path: str, keys: Any, draws: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{path}.{key:g}": rounds for key, rounds in zip(keys, draws, strict=True)}


def _intervals(keys: Any, draws: np.ndarray) -> dict[str, list[float]]:
    """Compute intervals by key; a figure without a value in any round is left out."""
    found = zip(keys, interval(draws), strict=True)
    return {f"{key:g}": ends.tolist() for key, ends in found if np.isfinite(ends).all()}
