"""Thresholds of one model for two single photos, by FAR, and the κ of a benchmark's faces."""

from math import isfinite
from pathlib import Path
from typing import Any

from lh2face.artifacts.file_names import METRICS
from lh2face.artifacts.model import model_digest
from lh2face.artifacts.provenance import PROVENANCE, people_behind
from lh2face.files.json_object import read_object
from lh2face.onnx.files import read_metadata

# Values that calibrate κ: a factor, and the dimension of the distribution.
FITTED = ("scale", "dim")


def read_metrics(evaluation: Path, model: Path) -> dict[str, Any]:
    """Read the figures of an evaluation, and check that they belong to a model.

    Args:
        evaluation: Folder written by stage ``evaluate`` or by ``lh2face evaluate-ijb``.
        model: Folder of the trained model that must have been evaluated.

    Returns:
        The figures of ``metrics.json``; the ``origin`` of the faces, "synthetic" or "photos"; and
        the number of ``people``. The last two are ``None`` where they are not known.

    Raises:
        ValueError: If it is not such a folder, measured another model, or does not say which.
    """
    inside = sorted(path.parent for path in evaluation.glob(f"*/{METRICS}"))
    if inside and not (evaluation / METRICS).exists():
        raise ValueError(
            f"{evaluation}: expected one evaluation, found a folder of them; give {inside[0]} or "
            "another"
        )
    metrics = read_object(evaluation / METRICS, "an evaluation")
    path = evaluation / PROVENANCE
    made = read_object(path, "an evaluation")
    measured = made.get("model")
    if measured is None:
        raise ValueError(
            f"{path}: it does not say which model was measured; embed and evaluate it again"
        )
    if measured != (own := model_digest(model)):
        raise ValueError(
            f"{path}: it is the evaluation of another model: its weights have the digest "
            f"{str(measured)[:12]}, those of {model} have {own[:12]}"
        )
    return {**metrics, "origin": made.get("origin"), "people": people_behind(made, path)}


def thresholds_of(metrics: dict[str, Any], evaluation: Path) -> dict[str, Any] | None:
    """Select the figures of an evaluation that a verdict on two photos needs.

    Args:
        metrics: The figures, from :func:`read_metrics`.
        evaluation: Their folder, which has the name of the benchmark.

    Returns:
        ``threshold``: score above which two single photos count as one person, by FAR as text;
        ``impostor``: number of impostor pairs behind the thresholds; ``people``: number of people
        (``None`` where it is not known); ``source``: origin of the faces; ``benchmark`` and
        ``bins``: names of the benchmark and of its lists of pairs; ``kappa``: ``mean``, ``std`` and
        ``p5`` (5th percentile) of the faces, and, if κ was calibrated, its factor ``scale`` and the
        dimension ``dim`` of the distribution. ``None`` instead of all this if the benchmark has no
        pairs of single photos.

    Raises:
        ValueError: If a value is missing or not valid.
    """
    single = metrics.get("single_images")
    if single is None:
        return None
    try:
        fitted = {key: metrics["calibration"][key] for key in FITTED if "calibration" in metrics}
        more = {
            "benchmark": evaluation.absolute().name,
            "people": metrics.get("people"),
            "kappa": {**metrics["kappa"], **fitted},
        }
        found = {**single, **more, "bins": [*metrics.get("bins", [])]}
    except (KeyError, TypeError):
        found = None
    return _checked(found, evaluation / METRICS)


def read_thresholds(model: Path) -> dict[str, Any] | None:
    """Read the thresholds that are kept with a model.

    Of several evaluations, those on photos come before those on synthetic faces, because thresholds
    are used on photos. Then the one with the most impostor pairs has the most certain thresholds.

    Args:
        model: An ONNX file with metadata from ``lh2face export-onnx --evaluation``, or the folder
            of a trained model, beside which the pipeline writes ``evaluation/BENCHMARK``.

    Returns:
        The thresholds as from :func:`thresholds_of`; ``None`` if there are none.

    Raises:
        ValueError: If the file is not ONNX, its thresholds are not valid, or an evaluation cannot
            be read by :func:`read_metrics`.
    """
    if not model.is_dir():
        found = read_metadata(model).get("thresholds")
        return None if found is None else _checked(found, model)
    known = []
    for path in sorted((model.parent / "evaluation").glob(f"[!.]*/{METRICS}")):
        found = thresholds_of(read_metrics(path.parent, model), path.parent)
        known += [] if found is None else [found]
    return max(known, key=lambda one: (one["source"] != "synthetic", one["impostor"]), default=None)


def _checked(found: Any, path: Path) -> dict[str, Any]:
    """Check that the thresholds of a file have all values that are used, and return them."""
    try:
        limits, kappa = found["threshold"], found["kappa"]
        numbers = [*map(float, limits), *limits.values(), found["impostor"], kappa["p5"]]
        fitted = [kappa[key] for key in FITTED if not kappa.keys().isdisjoint(FITTED)]
        numbers += fitted
        texts = [found["source"], found["benchmark"], *found["bins"]]
        good = all(map(isfinite, numbers)) and all(isinstance(text, str) for text in texts)
        good &= all(0 < float(far) < 1 for far in limits)
        good &= not fitted or (fitted[0] > 0 and fitted[1] >= 2)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f"{path}: thresholds: expected finite thresholds by FAR, their number of impostor "
            "pairs, source, benchmark and bins, and the κ of the faces; evaluate or export the "
            "model again"
        )
    people_behind(found, path)
    checked: dict[str, Any] = found
    return checked
