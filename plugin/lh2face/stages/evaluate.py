"""Stage ``evaluate``: embeddings to the figures and curves of one model."""

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lh2face.data.ijb_meta import IJBMeta, read_meta
from lh2face.evaluation.bootstrap import tar_intervals
from lh2face.evaluation.identification import identification, mean_over_galleries
from lh2face.evaluation.ijb import (
    EvaluationError,
    face_features,
    pool_templates,
    template_rows,
    verification_scores,
)
from lh2face.evaluation.quality import error_versus_reject, reject_area
from lh2face.evaluation.roc import roc_curve, tar_at_far, thinned
from lh2face.evaluation.verification import ten_fold_accuracy
from lh2face.stages.files import atomic_dir

if TYPE_CHECKING:
    from lh2face.stages.params import Evaluate, Params

FPIRS = [0.01, 0.1]
RANKS = (1, 5, 10)


def run(params: "Params", embeddings: Path, benchmark: Path, out: Path) -> None:
    """Write ``metrics.json``, ``roc.csv``, ``cmc.csv``, ``reject.csv``, ``kappa.csv``.

    Args:
        params: The parameters; ``evaluate`` is read.
        embeddings: Folder with ``benchmark.npy`` and ``bins/*.npy``.
        benchmark: Folder with ``meta`` and ``pairs``.
        out: Folder to write.

    Raises:
        EvaluationError: If embeddings and lists do not fit, or cannot be evaluated.
    """
    switches = params.evaluate
    meta = read_meta(benchmark, "bench")
    faces = np.load(embeddings / "benchmark.npy", allow_pickle=False)
    if len(faces) != len(meta.names):
        raise EvaluationError(f"{embeddings}: {len(faces)} embeddings of {len(meta.names)} faces")
    features = face_features(
        faces, meta.detector_score, flip=switches.flip, norm=switches.norm,
        score=switches.detector_score,
    )  # fmt: skip
    kappa = np.linalg.norm(faces, axis=2).mean(axis=1)
    templates, ids = pool_templates(features, meta.template_ids, meta.media_ids)
    with atomic_dir(out) as folder:
        one_to_one = verify(templates, ids, meta, switches, folder)
        one_to_many = identify(templates, ids, meta, folder)
        names = sorted(path.stem for path in (benchmark / "pairs").glob("*.csv"))
        bins = {name: bin_metrics(embeddings, benchmark, name) for name in names}
        area = reject(embeddings, benchmark, names, folder)
        rows = zip(meta.names, kappa.round(4).tolist(), strict=True)
        write_rows(folder / "kappa.csv", ("name", "kappa"), rows)
        metrics = {
            "verification": one_to_one,
            "identification": one_to_many,
            "bins": bins,
            "reject": {"area": area},
            "kappa": {"mean": float(kappa.mean()), "std": float(kappa.std())},
        }
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def verify(
    templates: np.ndarray, ids: np.ndarray, meta: IJBMeta, switches: "Evaluate", folder: Path
) -> dict[str, Any]:
    """1:1 figures; a TAR at a FAR finer than one impostor pair is None."""
    scores = verification_scores(templates, ids, meta.first, meta.second)
    genuine = int(meta.genuine.sum())
    impostor = len(scores) - genuine
    fars = [far for far in switches.far if far * impostor >= 1]
    tar = dict(zip(fars, tar_at_far(scores, meta.genuine, fars).tolist(), strict=True))
    write_rows(
        folder / "roc.csv", ("far", "tar"),
        zip(*(rates.tolist() for rates in thinned(*roc_curve(scores, meta.genuine))), strict=True),
    )  # fmt: skip
    figures = {
        "tar": {f"{far:g}": tar.get(far) for far in switches.far},
        "genuine": genuine,
        "impostor": impostor,
    }
    if switches.bootstrap:
        rows = [template_rows(ids, side) for side in (meta.first, meta.second)]
        ends = tar_intervals(
            scores, meta.genuine, *rows, fars, rounds=switches.bootstrap, seed=switches.seed
        )
        figures["tar_interval"] = {
            f"{far:g}": e.tolist() for far, e in zip(fars, ends, strict=True)
        }
    return figures


def identify(templates: np.ndarray, ids: np.ndarray, meta: IJBMeta, folder: Path) -> dict[str, Any]:
    """1:N figures: a gallery at a time, averaged."""
    probes = templates[template_rows(ids, meta.probes.template_ids)]
    result = mean_over_galleries(
        [
            identification(
                templates[template_rows(ids, gallery.template_ids)], gallery.subject_ids,
                probes, meta.probes.subject_ids, FPIRS,
            )
            for gallery in meta.galleries.values()
        ]
    )  # fmt: skip
    write_rows(folder / "cmc.csv", ("rank", "rate"), enumerate(result.cmc.tolist(), start=1))
    return {
        "rank": {str(rank): float(result.cmc[rank - 1]) for rank in RANKS},
        "tpir": dict(zip(map(str, FPIRS), result.tpir.tolist(), strict=True)),
    }


def bin_metrics(embeddings: Path, benchmark: Path, name: str) -> dict[str, Any]:
    """10-fold accuracy and TAR of a verification bin."""
    scores, same, _ = read_pairs(embeddings, benchmark, name)
    accuracy, spread = ten_fold_accuracy(scores, same)
    fars = [1e-1, 1e-2]
    tar = tar_at_far(scores, same, fars).tolist()
    tars = {f"{far:g}": value for far, value in zip(fars, tar, strict=True)}
    return {"accuracy": accuracy, "accuracy_std": spread, "tar": tars}


def reject(embeddings: Path, benchmark: Path, names: list[str], folder: Path) -> float:
    """Error-versus-reject curve over the genuine pairs of all bins, and its area."""
    scores, same, kappa = map(
        np.concatenate,
        zip(*(read_pairs(embeddings, benchmark, name) for name in names), strict=True),
    )
    rejected, fnmr = error_versus_reject(scores[same], kappa[same])
    rows = zip(rejected.tolist(), fnmr.tolist(), strict=True)
    write_rows(folder / "reject.csv", ("rejected", "fnmr"), rows)
    return reject_area(rejected, fnmr)


def read_pairs(
    embeddings: Path, benchmark: Path, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosine, sameness, and the lower κ of each pair of a verification bin."""
    both = np.load(embeddings / "bins" / f"{name}.npy", allow_pickle=False)
    with (benchmark / "pairs" / f"{name}.csv").open(newline="") as file:
        same = np.array([row["same"] == "1" for row in csv.DictReader(file)])
    if len(both) != 2 * len(same):
        raise EvaluationError(f"{name}: {len(both)} embeddings of {len(same)} pairs")
    kappa = np.linalg.norm(both, axis=2).mean(axis=1)
    sums = both.sum(axis=1)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)
    return (sums[::2] * sums[1::2]).sum(axis=1), same, np.minimum(kappa[::2], kappa[1::2])


def write_rows(path: Path, header: tuple[str, ...], rows: Any) -> None:
    """A CSV that ``dvc plots`` reads."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
