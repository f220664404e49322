"""Stage ``evaluate``: embeddings to the figures and curves of one model."""

import csv
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lh2face.data.ijb_meta import read_meta
from lh2face.evaluation.bootstrap import draw_weights, interval
from lh2face.evaluation.ijb import EvaluationError, concentrations
from lh2face.evaluation.matching import expected_cosine
from lh2face.evaluation.protocol import Protocol, Results, run_protocol
from lh2face.evaluation.quality import calibration, error_versus_reject, reject_area
from lh2face.evaluation.roc import roc_curve, tar_figures, threshold_at_far
from lh2face.evaluation.verification import ten_fold_accuracy, ten_fold_decisions
from lh2face.progress import progress
from lh2face.stages.files import atomic_dir, write_rows

if TYPE_CHECKING:
    from lh2face.stages.params import Params

BIN_FARS = [1e-1, 1e-2, 1e-3, 1e-4]
# A threshold that fewer false accepts than this decide is left out: it would be luck.
LEAST_ACCEPTS = 10


def run(params: "Params", embeddings: Path, benchmark: Path, out: Path) -> None:
    """Write ``metrics.json``, and as CSV the curves, κ of each face and the bootstrap's draws.

    Args:
        params: The parameters; ``evaluate`` is read, and ``data.source`` for the record.
        embeddings: Folder with ``benchmark.npy`` and ``bins/*.npy``.
        benchmark: Folder with ``meta`` and ``pairs``.
        out: Folder to write.

    Raises:
        EvaluationError: If embeddings and lists do not fit, or cannot be evaluated.
    """
    protocol = Protocol(**params.evaluate.model_dump())
    meta = read_meta(benchmark, "bench")
    faces = np.load(embeddings / "benchmark.npy", allow_pickle=False)
    names = sorted(path.stem for path in (benchmark / "pairs").glob("*.csv"))
    with atomic_dir(out) as folder, closing(progress("evaluating", 1 + len(names))) as shown:
        results = run_protocol(faces, meta, protocol)
        shown.advance(status="templates")
        kappa = concentrations(faces)
        pairs = {name: read_pairs(embeddings, benchmark, name) for name in names}
        bins = {name: bin_metrics(*pairs[name][:2]) for name in names}
        draws = results.draws
        for name in names:
            if protocol.bootstrap:
                draws[f"bins.{name}.accuracy"] = accuracy_draws(*pairs[name][:2], protocol)
                bins[name]["accuracy_interval"] = interval(draws[f"bins.{name}.accuracy"]).tolist()
            shown.advance(status=name)
        rows = zip(meta.names, kappa.round(4).tolist(), strict=True)
        write_rows(folder / "kappa.csv", ("name", "kappa"), rows)
        impostors = np.concatenate([scores[~same] for scores, same, _ in pairs.values()])
        metrics = {
            **results.figures,
            "bins": bins,
            **quality(list(pairs.values()), protocol.vmf_dim, folder),
            "kappa": {
                "mean": float(kappa.mean()),
                "std": float(kappa.std()),
                "p5": float(np.percentile(kappa, 5)),
            },
            "single_images": {"source": params.data.source, **thresholds(impostors)},
        }
        write_results(results, metrics, folder)


def write_results(results: Results, metrics: dict[str, Any], folder: Path) -> None:
    """``metrics.json``, ``roc.csv``, ``cmc.csv`` and, of a bootstrap, ``draws.csv``."""
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    roc = zip(*(rates.tolist() for rates in results.roc), strict=True)
    write_rows(folder / "roc.csv", ("far", "tar"), roc)
    write_rows(folder / "cmc.csv", ("rank", "rate"), enumerate(results.cmc.tolist(), start=1))
    columns = (draws.tolist() for draws in results.draws.values())
    write_rows(folder / "draws.csv", tuple(results.draws), zip(*columns, strict=True))


def bin_metrics(scores: np.ndarray, same: np.ndarray) -> dict[str, Any]:
    """10-fold accuracy and TAR of a verification bin."""
    accuracy, spread = ten_fold_accuracy(scores, same)
    tar = tar_figures(*roc_curve(scores, same), BIN_FARS, int((~same).sum()))
    return {"accuracy": accuracy, "accuracy_std": spread, "tar": tar}


def accuracy_draws(scores: np.ndarray, same: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Accuracy of a verification bin in every round of a bootstrap over its pairs ``(R,)``."""
    weights = draw_weights(len(same), rounds=protocol.bootstrap, seed=protocol.seed)
    return ten_fold_decisions(scores, same) @ weights / len(same)


def thresholds(impostors: np.ndarray) -> dict[str, Any]:
    """The score above which two single photos pass for one person, by FAR, from impostor pairs."""
    fars = [far for far in BIN_FARS if far * len(impostors) >= LEAST_ACCEPTS]
    return {
        "impostor": len(impostors),
        "threshold": {f"{far:g}": threshold_at_far(impostors, far) for far in fars},
    }


def quality(pairs: list[tuple[np.ndarray, ...]], dim: int, folder: Path) -> dict[str, Any]:
    """What κ tells of the genuine pairs of all bins: errors left by rejecting, and calibration."""
    scores, same, kappa = map(np.concatenate, zip(*pairs, strict=True))
    scores, kappa = scores[same], kappa[same]
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


def read_pairs(
    embeddings: Path, benchmark: Path, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines ``(n,)``, sameness ``(n,)`` and both κ ``(n, 2)`` of a verification bin's pairs."""
    both = np.load(embeddings / "bins" / f"{name}.npy", allow_pickle=False)
    with (benchmark / "pairs" / f"{name}.csv").open(newline="") as file:
        same = np.array([row["same"] == "1" for row in csv.DictReader(file)])
    if len(both) != 2 * len(same):
        raise EvaluationError(f"{name}: {len(both)} embeddings of {len(same)} pairs")
    kappa = concentrations(both).reshape(-1, 2)
    sums = both.sum(axis=1)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
    return (sums[::2] * sums[1::2]).sum(axis=1), same, kappa
