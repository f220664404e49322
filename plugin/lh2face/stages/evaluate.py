"""Stage ``evaluate``: embeddings to the figures and curves of one model."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lh2face.artifacts.outputs import atomic_dir
from lh2face.artifacts.provenance import digests, joined, provenance, write_provenance
from lh2face.data.benchmark import PAIRS, TABLE, Benchmark, PairList, read_benchmark
from lh2face.data.csv_files import write_rows
from lh2face.data.ijb_meta import meta_paths
from lh2face.evaluation.bootstrap import draw_weights, interval
from lh2face.evaluation.checks import EvaluationError
from lh2face.evaluation.conditions import tar_by_condition
from lh2face.evaluation.ijb import concentrations, directions
from lh2face.evaluation.matching import expected_cosine
from lh2face.evaluation.protocol import Protocol, Results, run_protocol
from lh2face.evaluation.quality import calibration, error_versus_reject, reject_area
from lh2face.evaluation.roc import roc_curve, tar_figures, threshold_at_far
from lh2face.evaluation.verification import (
    best_threshold,
    fold_accuracy,
    fold_decisions,
    grid_threshold,
)
from lh2face.progress import progress
from lh2face.stages.embed import embedded_by, read_embeddings
from lh2face.stages.figures import REJECT_AREA

if TYPE_CHECKING:
    from lh2face.stages.params import Params

BIN_FARS = [1e-1, 1e-2, 1e-3, 1e-4]
# How the threshold of a fold is chosen, by the protocol's ``figures``.
RULES = {"definition": best_threshold, "insightface": grid_threshold}
# A threshold that fewer false accepts than this decide is left out: it would be luck.
LEAST_ACCEPTS = 10
NO_TEMPLATES = Results({}, {}, (), (), np.empty(0))
PAIR_COLUMNS = ("bin", "first", "second", "same", "score", "kappa_first", "kappa_second", "right")


@dataclass(frozen=True)
class Pairs:
    """Pairs of faces, as a model sees them.

    Attributes:
        scores: Cosines ``(n,)``.
        same: Whether a pair shows one person ``(n,)``.
        kappa: κ of the two images ``(n, 2)``.
        right: Whether the threshold of the other folds decides a pair rightly ``(n,)``.
        fold: ``(n,)``; ``None`` where ten consecutive parts are the folds.
    """

    scores: np.ndarray
    same: np.ndarray
    kappa: np.ndarray
    right: np.ndarray
    fold: np.ndarray | None = None


def run(params: "Params", embeddings: Path, benchmark: Path, out: Path) -> None:
    """Write ``metrics.json``, ``provenance.json``, and as CSV the curves, κ of each face, the pairs
    with what was decided, and the bootstrap's draws.

    What a benchmark does not have is not in ``metrics.json``, and its CSV has a header alone. The
    provenance has the digest of the ``model`` that made the embeddings, where they say it, the
    ``origin`` of the faces and the number of ``people``, where it is known.

    Args:
        params: The parameters; ``evaluate`` is read.
        embeddings: Folder of stage ``embed``.
        benchmark: Folder of stage ``align_benchmark``.
        out: Folder to write.

    Raises:
        ValueError: If embeddings and lists do not fit, cannot be evaluated, or are of more than
            one model.
    """
    protocol = Protocol(**params.evaluate.model_dump())
    asked, faces = read_benchmark(benchmark), read_embeddings(embeddings)
    if len(faces) != len(asked.names):
        raise EvaluationError(f"{embeddings}: {len(faces)} faces, {benchmark}: {len(asked.names)}")
    kappa, found = concentrations(faces), directions(faces)
    with (
        atomic_dir(out, [embeddings, benchmark]) as folder,
        closing(progress("evaluating", 1 + len(asked.pairs))) as shown,
    ):
        results = NO_TEMPLATES
        if asked.templates is not None:
            results = run_protocol(faces, asked.templates, protocol)
        shown.advance(status="templates")
        draws, metrics = dict(results.draws), dict(results.figures)
        pairs: dict[str, Pairs] = {}
        for name, listed in asked.pairs.items():
            try:
                pairs[name] = decided(found, kappa, listed, protocol)
            except EvaluationError as error:
                raise EvaluationError(f"{benchmark}: pairs {name}: {error}") from None
            draws[f"bins.{name}.accuracy"] = accuracy_draws(pairs[name], protocol)
            ends = interval(draws[f"bins.{name}.accuracy"]).tolist()
            metrics.setdefault("bins", {})[name] = {
                **bin_metrics(pairs[name]), "accuracy_interval": ends,
            }  # fmt: skip
            shown.advance(status=name)
        if asked.knows("identity", "kind"):
            by_condition, condition_draws = conditions(found, kappa, asked, protocol)
            metrics["conditions"] = by_condition
            draws |= {f"conditions.{name}": values for name, values in condition_draws.items()}
        rows = ((name, f"{length:.6g}") for name, length in zip(asked.names, kappa, strict=True))
        write_rows(folder / "kappa.csv", ("name", "kappa"), rows)
        rows = (row for name, part in pairs.items() for row in pair_rows(name, part, asked))
        write_rows(folder / "pairs.csv", PAIR_COLUMNS, rows)
        metrics["kappa"] = {
            "mean": float(kappa.mean()),
            "std": float(kappa.std()),
            "p5": float(np.percentile(kappa, 5)),
        }
        rejected, calibrated = (), ()
        if pairs:
            scores, pair_kappa = genuine(list(pairs.values()))
            draws[REJECT_AREA] = reject_draws(scores, pair_kappa, protocol)
            impostors = np.concatenate([part.scores[~part.same] for part in pairs.values()])
            metrics["single_images"] = {"source": asked.origin, **thresholds(impostors)}
            rejected = error_versus_reject(scores, pair_kappa.min(axis=1))
            metrics["reject"] = {"area": reject_area(*rejected)}
            *calibrated, error = calibration(
                expected_cosine(*pair_kappa.T, protocol.vmf_dim), scores
            )
            # A key "error" would tell dvc that reading failed.
            metrics["calibration"] = {"ece": error}
        write_curve(folder / "reject.csv", ("rejected", "fnmr"), rejected)
        write_curve(folder / "calibration.csv", ("predicted", "observed"), calibrated)
        write_results(replace(results, draws=draws), metrics, folder)
        read = {**digests(embeddings), **asked_digests(asked)}
        made = provenance(params=params.evaluate.model_dump(), data=read)
        model = embedded_by(embeddings)
        about = {"model": model, "origin": asked.origin, "people": asked.people}
        write_provenance(folder, {**made, **about})


def write_curve(path: Path, header: tuple[str, str], points: Sequence[np.ndarray]) -> None:
    """A curve's points, its header alone where there are none."""
    write_rows(path, header, zip(*(values.tolist() for values in points), strict=True))


def asked_digests(benchmark: Benchmark) -> dict[str, str]:
    """What tells a benchmark's questions from those of others.

    ``lh2face evaluate-ijb`` gives the lists of templates the same digest and name.
    """
    found = digests(benchmark.folder / PAIRS, benchmark.folder / TABLE)
    if benchmark.lists is not None:
        found["meta"] = joined(digests(*meta_paths(*benchmark.lists)))
    return found


def write_results(results: Results, metrics: dict[str, Any], folder: Path) -> None:
    """``metrics.json``, ``roc.csv``, ``cmc.csv`` and, of a bootstrap, ``draws.csv``."""
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    write_curve(folder / "roc.csv", ("far", "tar"), results.roc)
    write_rows(folder / "cmc.csv", ("rank", "rate"), enumerate(list(results.cmc), start=1))
    columns = (draws.tolist() for draws in results.draws.values())
    write_rows(folder / "draws.csv", tuple(results.draws), zip(*columns, strict=True))


def conditions(
    found: np.ndarray, kappa: np.ndarray, benchmark: Benchmark, protocol: Protocol
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """TAR at FAR by kind of photograph, as the list of faces tells it, and in every round."""
    _, people = np.unique(benchmark.images["identity"], return_inverse=True)
    weights = draw_weights(people.max() + 1, rounds=protocol.bootstrap, seed=protocol.seed)
    return tar_by_condition(found, kappa, people, benchmark.images["kind"], protocol, weights)


def bin_metrics(pairs: Pairs) -> dict[str, Any]:
    """Ten-fold accuracy and TAR of a verification bin."""
    accuracy, spread = fold_accuracy(pairs.right, pairs.fold)
    tar = tar_figures(*roc_curve(pairs.scores, pairs.same), BIN_FARS, int((~pairs.same).sum()))
    return {"accuracy": accuracy, "accuracy_std": spread, "tar": tar}


def accuracy_draws(pairs: Pairs, protocol: Protocol) -> np.ndarray:
    """Accuracy of a verification bin in every round of a bootstrap over its pairs ``(R,)``."""
    weights = draw_weights(len(pairs.same), rounds=protocol.bootstrap, seed=protocol.seed)
    return pairs.right @ weights / len(pairs.right)


def pair_rows(name: str, pairs: Pairs, benchmark: Benchmark) -> Iterator[tuple]:
    """A list's rows of ``pairs.csv``; ``right`` is 1 where the accuracy counts the decision."""
    listed, names = benchmark.pairs[name], benchmark.names
    columns = (pairs.same.astype(int), pairs.scores, *pairs.kappa.T, pairs.right.astype(int))
    for first, second, *values in zip(listed.first, listed.second, *columns, strict=True):
        yield (name, names[first], names[second], *(f"{value:.6g}" for value in values))


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


def decided(found: np.ndarray, kappa: np.ndarray, listed: PairList, protocol: Protocol) -> Pairs:
    """The cosines and κ of a list of pairs, and the decisions."""
    scores = (found[listed.first] * found[listed.second]).sum(axis=1)
    return Pairs(
        scores=scores,
        same=listed.same,
        kappa=np.stack([kappa[listed.first], kappa[listed.second]], axis=1),
        right=fold_decisions(scores, listed.same, RULES[protocol.figures], listed.fold),
        fold=listed.fold,
    )
