"""Stage ``evaluate``: embeddings to the figures and curves of one model."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lh2face.artifacts.outputs import atomic_dir
from lh2face.artifacts.provenance import digests, provenance, write_provenance
from lh2face.data.csv_files import PAIR_LIST, read_rows, write_rows
from lh2face.data.ijb_meta import read_meta
from lh2face.evaluation.bootstrap import draw_weights, interval
from lh2face.evaluation.checks import EvaluationError
from lh2face.evaluation.conditions import tar_by_condition
from lh2face.evaluation.ijb import concentrations
from lh2face.evaluation.matching import expected_cosine
from lh2face.evaluation.protocol import Protocol, Results, run_protocol
from lh2face.evaluation.quality import calibration, error_versus_reject, reject_area
from lh2face.evaluation.roc import roc_curve, tar_figures, threshold_at_far
from lh2face.evaluation.verification import (
    best_threshold,
    fold_accuracy,
    grid_threshold,
    ten_fold_decisions,
)
from lh2face.progress import progress
from lh2face.stages.embed import embedded_by, read_embeddings
from lh2face.stages.figures import REJECT_AREA

if TYPE_CHECKING:
    from lh2face.stages.params import Params

BIN_FARS = [1e-1, 1e-2, 1e-3, 1e-4]
# How the threshold of the ten-fold accuracy is chosen, by the protocol's ``figures``.
RULES = {"definition": best_threshold, "insightface": grid_threshold}
# A threshold that fewer false accepts than this decide is left out: it would be luck.
LEAST_ACCEPTS = 10
PAIR_COLUMNS = ("bin", "first", "second", "same", "score", "kappa_first", "kappa_second", "right")


@dataclass(frozen=True)
class Pairs:
    """The pairs of a verification bin, as a model sees them.

    Attributes:
        names: Of the two images, n pairs.
        scores: Cosines ``(n,)``.
        same: Whether a pair shows one person ``(n,)``.
        kappa: κ of the two images ``(n, 2)``.
        right: Whether the ten-fold threshold decides a pair rightly ``(n,)``.
    """

    names: list[tuple[str, str]]
    scores: np.ndarray
    same: np.ndarray
    kappa: np.ndarray
    right: np.ndarray


def run(params: "Params", embeddings: Path, benchmark: Path, out: Path) -> None:
    """Write ``metrics.json``, ``provenance.json``, and as CSV the curves, κ of each face, the pairs
    of the verification bins with what was decided, and the bootstrap's draws.

    The provenance has the digest of the ``model`` that made the embeddings, where they say it.

    Args:
        params: The parameters; ``evaluate`` is read, and the source of the faces for the record.
        embeddings: Folder of stage ``embed``.
        benchmark: Folder with ``meta``, ``pairs`` and ``images.csv``.
        out: Folder to write.

    Raises:
        ValueError: If embeddings and lists do not fit, cannot be evaluated, or are of more than
            one model.
    """
    protocol = Protocol(**params.evaluate.model_dump())
    meta = read_meta(benchmark, "bench")
    faces, model = read_embeddings(embeddings, "benchmark.npy"), embedded_by(embeddings)
    names = sorted(path.stem for path in (benchmark / "pairs").glob("*.csv"))
    with (
        atomic_dir(out, [embeddings, benchmark]) as folder,
        closing(progress("evaluating", 1 + len(names))) as shown,
    ):
        results = run_protocol(faces, meta, protocol)
        shown.advance(status="templates")
        kappa = concentrations(faces)
        pairs = {name: read_pairs(embeddings, benchmark, name, protocol) for name in names}
        bins = {name: bin_metrics(pairs[name]) for name in names}
        draws = dict(results.draws)
        for name in names:
            draws[f"bins.{name}.accuracy"] = accuracy_draws(pairs[name], protocol)
            bins[name]["accuracy_interval"] = interval(draws[f"bins.{name}.accuracy"]).tolist()
            shown.advance(status=name)
        by_condition, condition_draws = conditions(faces, kappa, benchmark, protocol)
        draws |= {f"conditions.{name}": values for name, values in condition_draws.items()}
        rows = ((name, f"{length:.6g}") for name, length in zip(meta.names, kappa, strict=True))
        write_rows(folder / "kappa.csv", ("name", "kappa"), rows)
        rows = (row for name in names for row in pair_rows(name, pairs[name]))
        write_rows(folder / "pairs.csv", PAIR_COLUMNS, rows)
        scores, pair_kappa = genuine(list(pairs.values()))
        draws[REJECT_AREA] = reject_draws(scores, pair_kappa, protocol)
        impostors = np.concatenate([part.scores[~part.same] for part in pairs.values()])
        metrics = {
            **results.figures,
            "bins": bins,
            "conditions": by_condition,
            **quality(scores, pair_kappa, protocol.vmf_dim, folder),
            "kappa": {
                "mean": float(kappa.mean()),
                "std": float(kappa.std()),
                "p5": float(np.percentile(kappa, 5)),
            },
            "single_images": {"source": params.data.source_of_benchmark, **thresholds(impostors)},
        }
        write_results(replace(results, draws=draws), metrics, folder)
        read = digests(embeddings, *(benchmark / part for part in ("meta", "pairs", "images.csv")))
        made = provenance(params=params.evaluate.model_dump(), data=read)
        write_provenance(folder, {**made, "model": model})


def write_results(results: Results, metrics: dict[str, Any], folder: Path) -> None:
    """``metrics.json``, ``roc.csv``, ``cmc.csv`` and, of a bootstrap, ``draws.csv``."""
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    roc = zip(*(rates.tolist() for rates in results.roc), strict=True)
    write_rows(folder / "roc.csv", ("far", "tar"), roc)
    write_rows(folder / "cmc.csv", ("rank", "rate"), enumerate(results.cmc.tolist(), start=1))
    columns = (draws.tolist() for draws in results.draws.values())
    write_rows(folder / "draws.csv", tuple(results.draws), zip(*columns, strict=True))


def conditions(
    faces: np.ndarray, kappa: np.ndarray, benchmark: Path, protocol: Protocol
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """TAR at FAR by kind of photograph, as ``images.csv`` tells it, and in every round."""
    path = benchmark / "images.csv"
    rows = read_rows(path, {"identity": int, "kind": str})
    if len(rows) != len(faces):
        raise EvaluationError(f"{path}: {len(rows)} images, but {len(faces)} embeddings")
    people = np.array([row["identity"] for row in rows])
    kinds = np.array([row["kind"] for row in rows])
    weights = draw_weights(people.max() + 1, rounds=protocol.bootstrap, seed=protocol.seed)
    return tar_by_condition(directions(faces), kappa, people, kinds, protocol, weights)


def directions(faces: np.ndarray) -> np.ndarray:
    """Unit sums ``(N, d)`` of the embeddings ``(N, 2, d)`` of faces and their mirror images."""
    sums = faces.sum(axis=1)
    lengths: np.ndarray = np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
    return sums / lengths


def bin_metrics(pairs: Pairs) -> dict[str, Any]:
    """Ten-fold accuracy and TAR of a verification bin."""
    accuracy, spread = fold_accuracy(pairs.right)
    tar = tar_figures(*roc_curve(pairs.scores, pairs.same), BIN_FARS, int((~pairs.same).sum()))
    return {"accuracy": accuracy, "accuracy_std": spread, "tar": tar}


def accuracy_draws(pairs: Pairs, protocol: Protocol) -> np.ndarray:
    """Accuracy of a verification bin in every round of a bootstrap over its pairs ``(R,)``."""
    weights = draw_weights(len(pairs.same), rounds=protocol.bootstrap, seed=protocol.seed)
    return pairs.right @ weights / len(pairs.right)


def pair_rows(name: str, pairs: Pairs) -> Iterator[tuple]:
    """A bin's rows of ``pairs.csv``; ``right`` is 1 where the accuracy counts the decision."""
    columns = (pairs.same.astype(int), pairs.scores, *pairs.kappa.T, pairs.right.astype(int))
    for images, *values in zip(pairs.names, *columns, strict=True):
        yield (name, *images, *(f"{value:.6g}" for value in values))


def thresholds(impostors: np.ndarray) -> dict[str, Any]:
    """The score above which two single photos pass for one person, by FAR, from impostor pairs."""
    fars = [far for far in BIN_FARS if far * len(impostors) >= LEAST_ACCEPTS]
    return {
        "impostor": len(impostors),
        "threshold": {f"{far:g}": threshold_at_far(impostors, far) for far in fars},
    }


def genuine(pairs: list[Pairs]) -> tuple[np.ndarray, np.ndarray]:
    """Scores ``(n,)`` and κ ``(n, 2)`` of the genuine pairs of all bins."""
    scores = np.concatenate([part.scores[part.same] for part in pairs])
    return scores, np.concatenate([part.kappa[part.same] for part in pairs])


def reject_draws(scores: np.ndarray, kappa: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Area under the reject curve in every round of a bootstrap over the genuine pairs ``(R,)``."""
    weights = draw_weights(len(scores), rounds=protocol.bootstrap, seed=protocol.seed)
    rows = (np.repeat(np.arange(len(scores)), times) for times in weights.T.astype(int))
    return np.array([reject_area(*error_versus_reject(scores[r], kappa[r].min(1))) for r in rows])


def quality(scores: np.ndarray, kappa: np.ndarray, dim: int, folder: Path) -> dict[str, Any]:
    """What κ tells of genuine pairs: the errors left by rejecting, and its calibration."""
    rejected, fnmr = error_versus_reject(scores, kappa.min(axis=1))
    rows = zip(rejected.tolist(), fnmr.tolist(), strict=True)
    write_rows(folder / "reject.csv", ("rejected", "fnmr"), rows)
    predicted, observed, error = calibration(expected_cosine(*kappa.T, dim), scores)
    rows = zip(predicted.tolist(), observed.tolist(), strict=True)
    write_rows(folder / "calibration.csv", ("predicted", "observed"), rows)
    return {
        "reject": {"area": reject_area(rejected, fnmr)},
        "calibration": {"ece": error},  # a key "error" would tell dvc that reading failed
    }


def read_pairs(embeddings: Path, benchmark: Path, name: str, protocol: Protocol) -> Pairs:
    """A verification bin: its list, the cosines and κ of its embeddings, and the decisions."""
    both = read_embeddings(embeddings, f"bins/{name}.npy")
    path = benchmark / "pairs" / f"{name}.csv"
    rows = read_rows(path, PAIR_LIST)
    if len(both) != 2 * len(rows):
        raise EvaluationError(f"{path}: {len(both)} embeddings of {len(rows)} pairs")
    found = directions(both)
    scores = (found[::2] * found[1::2]).sum(axis=1)
    same = np.array([row["same"] for row in rows])
    return Pairs(
        names=[(row["first"], row["second"]) for row in rows],
        scores=scores,
        same=same,
        kappa=concentrations(both).reshape(-1, 2),
        right=ten_fold_decisions(scores, same, RULES[protocol.figures]),
    )
