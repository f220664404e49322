"""What a score and a κ mean for one model: thresholds by FAR, and the κ of a benchmark."""

from math import isfinite
from pathlib import Path
from typing import Any

from lh2face.artifacts.model import model_digest
from lh2face.artifacts.provenance import PROVENANCE, people_behind
from lh2face.artifacts.run_metrics import METRICS
from lh2face.files.json_object import read_object
from lh2face.onnx.files import read_metadata


def read_metrics(evaluation: Path, model: Path) -> dict[str, Any]:
    """The figures of a folder of stage ``evaluate`` or of ``lh2face evaluate-ijb``, if they are
    those of a model, the ``origin`` of the faces, "synthetic" or "photos", and the number of
    ``people``, ``None`` where it is not known.

    Args:
        evaluation: The folder.
        model: Folder of the trained model that it should have measured.

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
            f"{path}: it is the evaluation of another model, of weights {str(measured)[:12]}; "
            f"those of {model} are {own[:12]}"
        )
    return {**metrics, "origin": made.get("origin"), "people": people_behind(made, path)}


def calibration(metrics: dict[str, Any], evaluation: Path) -> dict[str, Any] | None:
    """The part of an evaluation's figures that belongs to the model.

    Args:
        metrics: The figures.
        evaluation: Their folder, which has the benchmark's name.

    Returns:
        ``threshold``, by FAR as text, above which two single photos pass for one person;
        ``impostor``, how many pairs that was measured on, of how many ``people`` (``None`` where
        it is not known), of which ``source`` of faces, of which ``benchmark`` and lists of pairs,
        ``bins``; ``kappa``: ``mean``, ``std``, ``p5`` (the 5th percentile) of the faces. ``None``
        where the benchmark has no pairs of single photos.

    Raises:
        ValueError: If one of them is missing or no such value.
    """
    single = metrics.get("single_images")
    if single is None:
        return None
    more = {
        "benchmark": evaluation.absolute().name,
        "people": metrics.get("people"),
        "kappa": metrics.get("kappa"),
    }
    try:
        found = {**single, **more, "bins": [*metrics.get("bins", [])]}
    except TypeError:
        found = None
    return _checked(found, evaluation / METRICS)


def read_calibration(model: Path) -> dict[str, Any] | None:
    """The calibration kept with a model; ``None`` where there is none.

    Of several evaluations it is that on photos rather than on synthetic faces, since thresholds are
    for photos, and then that of the most impostor pairs, whose thresholds are the surest.

    Args:
        model: An ONNX file, in whose metadata ``lh2face export-onnx --evaluation`` writes it, or
            the folder of a trained model, beside which the pipeline puts ``evaluation/BENCHMARK``.

    Raises:
        ValueError: If the file is not ONNX, what it holds is no calibration, or as
            :func:`read_metrics`.
    """
    if not model.is_dir():
        found = read_metadata(model).get("calibration")
        return None if found is None else _checked(found, model)
    known = []
    for path in sorted((model.parent / "evaluation").glob(f"[!.]*/{METRICS}")):
        found = calibration(read_metrics(path.parent, model), path.parent)
        known += [] if found is None else [found]
    return max(known, key=lambda one: (one["source"] != "synthetic", one["impostor"]), default=None)


def _checked(found: Any, path: Path) -> dict[str, Any]:
    """What a file has as a calibration, if all that is used of it is there and finite."""
    try:
        limits, kappa = found["threshold"], found["kappa"]
        numbers = [*map(float, limits), *limits.values(), found["impostor"], kappa["p5"]]
        texts = [found["source"], found["benchmark"], *found["bins"]]
        good = all(map(isfinite, numbers)) and all(isinstance(text, str) for text in texts)
        good &= all(0 < float(far) < 1 for far in limits)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f"{path}: calibration: expected finite thresholds by FAR, their count of impostor "
            "pairs, source, benchmark and bins, and the κ of its faces; evaluate or export the "
            "model again"
        )
    people_behind(found, path)
    checked: dict[str, Any] = found
    return checked
