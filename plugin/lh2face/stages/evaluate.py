"""Stage ``evaluate``: compute the figures and curves of one model from its embeddings."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lh2face.artifacts.embeddings import embedded_by, read_embeddings
from lh2face.artifacts.evaluations import write_curve, write_reject, write_results
from lh2face.artifacts.provenance import provenance, write_provenance
from lh2face.data.benchmark import PAIRS, TABLE, Benchmark, read_benchmark
from lh2face.data.ijb_meta import meta_paths
from lh2face.evaluation.bootstrap import draw_weights, interval
from lh2face.evaluation.checks import EvaluationError
from lh2face.evaluation.conditions import tar_by_condition
from lh2face.evaluation.features import concentrations, directions
from lh2face.evaluation.matching import expected_cosine
from lh2face.evaluation.pairs import (
    Pairs,
    accuracy_draws,
    all_pairs,
    bin_metrics,
    decide_pairs,
    reject_draws,
    thresholds,
)  # fmt: skip
from lh2face.evaluation.protocol import Protocol, Results, run_protocol
from lh2face.evaluation.quality import (
    RejectCurves,
    calibrated_cosine,
    calibration,
    error_versus_reject,
    kappa_scale,
    reject_areas,
)
from lh2face.files.digests import digests, joined
from lh2face.files.outputs import atomic_dir
from lh2face.files.tables import write_rows
from lh2face.progress import progress

if TYPE_CHECKING:
    from lh2face.params import Params

NOTHING = np.empty(0)
NO_TEMPLATES = Results({}, {}, (NOTHING, NOTHING), NOTHING, NOTHING)
PAIR_COLUMNS = ("bin", "first", "second", "same", "score", "kappa_first", "kappa_second", "right")


def run(params: "Params", embeddings: Path, benchmark: Path, out: Path) -> None:
    """Write ``metrics.json``, ``provenance.json``, and several tables as CSV.

    The tables are the curves, κ of each face, the pairs with their decisions, and the draws of the
    bootstrap. Figures that a benchmark does not have are absent from ``metrics.json``, and their
    tables have only a header. The provenance also has the digest of the ``model``, the ``origin``
    of the faces and the number of ``people``; the first and the last are None if not known.

    The dimension n of the vMF distribution is that of the model's head, unless ``evaluate.vmf_dim``
    is set. For a head without n and for third-party models, it is the size d of the embedding.

    Args:
        params: The parameters; ``evaluate`` is read.
        embeddings: Folder of stage ``embed``.
        benchmark: Folder of stage ``align_benchmark``.
        out: Folder to write.

    Raises:
        ValueError: If embeddings and lists do not fit together, cannot be evaluated, or the
            embeddings are from more than one model.
    """
    test_set, faces = read_benchmark(benchmark), read_embeddings(embeddings)
    if len(faces) != len(test_set.names):
        raise EvaluationError(
            f"{embeddings}: found {len(faces)} faces, expected the {len(test_set.names)} of "
            f"{benchmark}"
        )
    made_by = embedded_by(embeddings)
    dim = params.evaluate.vmf_dim or made_by.vmf_dim or faces.shape[2]
    protocol = Protocol(**{**params.evaluate.model_dump(), "vmf_dim": dim})
    kappa, unit = concentrations(faces), directions(faces)
    with (
        atomic_dir(out, [embeddings, benchmark]) as folder,
        closing(progress("evaluating", 1 + len(test_set.pairs))) as shown,
    ):
        results = NO_TEMPLATES
        if test_set.templates is not None:
            results = run_protocol(faces, test_set.templates, protocol)
        shown.advance(status="templates")
        draws, metrics = dict(results.draws), dict(results.figures)
        pairs: dict[str, Pairs] = {}
        for name, listed in test_set.pairs.items():
            try:
                pairs[name] = decide_pairs(unit, kappa, listed, protocol)
            except EvaluationError as error:
                raise EvaluationError(f"{benchmark}: pairs {name}: {error}") from None
            draws[f"bins.{name}.accuracy"] = accuracy_draws(pairs[name], protocol)
            ends = interval(draws[f"bins.{name}.accuracy"]).tolist()
            metrics.setdefault("bins", {})[name] = {
                **bin_metrics(pairs[name]), "accuracy_interval": ends,
            }  # fmt: skip
            shown.advance(status=name)
        if test_set.knows("identity", "kind"):
            by_condition, condition_draws = conditions(unit, kappa, test_set, protocol)
            metrics["conditions"] = by_condition
            draws |= {f"conditions.{name}": values for name, values in condition_draws.items()}
        rows = ((name, f"{length:.6g}") for name, length in zip(test_set.names, kappa, strict=True))
        write_rows(folder / "kappa.csv", ("name", "kappa"), rows)
        decisions = (row for name, part in pairs.items() for row in pair_rows(name, part, test_set))
        write_rows(folder / "pairs.csv", PAIR_COLUMNS, decisions)
        metrics["kappa"] = {
            "mean": float(kappa.mean()),
            "std": float(kappa.std()),
            "p5": float(np.percentile(kappa, 5)),
        }
        curves: RejectCurves | None = None
        calibrated: Sequence[np.ndarray] = ()
        if pairs:
            scores, same, pair_kappa = all_pairs(list(pairs.values()))
            metrics["single_images"] = {"source": test_set.origin, **thresholds(scores[~same])}
            quality = pair_kappa.min(axis=1)
            draws |= reject_draws(scores, same, quality, protocol)
            curves = error_versus_reject(scores, same, quality)
            metrics["reject"] = {**reject_areas(curves), "far": curves.far}
            scores, pair_kappa = scores[same], pair_kappa[same]
            half = np.concatenate([part.half[part.same] for part in pairs.values()])
            *calibrated, ece = calibration(calibrated_cosine(pair_kappa, scores, half, dim), scores)
            first, second = pair_kappa.T
            as_trained = expected_cosine(first, second, dim)
            # Not "error": DVC takes this key as a sign that reading the metrics failed.
            metrics["calibration"] = {
                "ece": ece,
                "ece_as_trained": calibration(as_trained, scores)[2],
                "scale": kappa_scale(pair_kappa, scores, dim),
                "dim": dim,
            }
        write_reject(folder, curves)
        write_curve(folder / "calibration.csv", ("predicted", "observed"), calibrated)
        write_results(replace(results, draws=draws), metrics, folder)
        read = {**digests(embeddings), **list_digests(test_set)}
        made = provenance(params=asdict(protocol), data=read)
        about = {"model": made_by.model, "origin": test_set.origin, "people": test_set.people}
        write_provenance(folder, {**made, **about})


def list_digests(benchmark: Benchmark) -> dict[str, str]:
    """Compute the digests that identify the lists of a benchmark.

    The lists of templates have the same name and digest as in ``lh2face evaluate-ijb``.
    """
    found = digests(benchmark.folder / PAIRS, benchmark.folder / TABLE)
    if benchmark.lists is not None:
        found["meta"] = joined(digests(*meta_paths(*benchmark.lists)))
    return found


def conditions(
    unit: np.ndarray, kappa: np.ndarray, benchmark: Benchmark, protocol: Protocol
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Compute TAR at FAR by kind of photograph, and the same in every round of the bootstrap.

    Args:
        unit: ``(N, d)`` unit vectors of the faces.
        kappa: ``(N,)`` concentrations of the faces.
        benchmark: A benchmark whose list of faces has the columns ``identity`` and ``kind``.
        protocol: Options of the evaluation.
    """
    _, people = np.unique(benchmark.images["identity"], return_inverse=True)
    weights = draw_weights(people.max() + 1, rounds=protocol.bootstrap, seed=protocol.seed)
    return tar_by_condition(unit, kappa, people, benchmark.images["kind"], protocol, weights)


def pair_rows(name: str, pairs: Pairs, benchmark: Benchmark) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a list in ``pairs.csv``; ``right`` is 1 if a pair is decided correctly."""
    listed, names = benchmark.pairs[name], benchmark.names
    columns = (pairs.same.astype(int), pairs.scores, *pairs.kappa.T, pairs.right.astype(int))
    for first, second, *values in zip(listed.first, listed.second, *columns, strict=True):
        yield (name, names[first], names[second], *(f"{value:.6g}" for value in values))
