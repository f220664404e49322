"""What a score and a κ mean for one model: thresholds by FAR, and the κ of a benchmark."""

from math import isfinite
from pathlib import Path
from typing import Any

from lh2face.artifacts.json_object import read_object
from lh2face.artifacts.model import model_digest
from lh2face.artifacts.onnx_metadata import read_metadata
from lh2face.artifacts.provenance import PROVENANCE

METRICS = "metrics.json"


def read_metrics(evaluation: Path, model: Path) -> dict[str, Any]:
    """The figures of a folder of stage ``evaluate``, if they are those of a model.

    Args:
        evaluation: The folder.
        model: Folder of the trained model that it should have measured.

    Raises:
        ValueError: If it is not such a folder, measured another model, or does not say which.
    """
    path = evaluation / METRICS
    metrics = read_object(path, "a folder of stage evaluate")
    if "single_images" not in metrics:
        raise ValueError(f"{path}: there is no single_images; evaluate the model again")
    path = evaluation / PROVENANCE
    measured = read_object(path, "a folder of stage evaluate").get("model")
    if measured is None:
        raise ValueError(
            f"{path}: it does not say which model was measured; embed and evaluate it again"
        )
    if measured != (own := model_digest(model)):
        raise ValueError(
            f"{path}: it is the evaluation of another model, of weights {str(measured)[:12]}; "
            f"those of {model} are {own[:12]}"
        )
    return metrics


def calibration(metrics: dict[str, Any]) -> dict[str, Any]:
    """The part of an evaluation's figures that belongs to the model.

    Returns:
        ``threshold``, by FAR as text, above which two single photos pass for one person;
        ``impostor``, how many pairs that was measured on, of which ``source`` of faces, and in
        which ``bins``; ``kappa``: ``mean``, ``std``, ``p5`` (the 5th percentile) of the faces.
    """
    single = metrics["single_images"]
    return {**single, "bins": list(metrics.get("bins", [])), "kappa": metrics.get("kappa")}


def read_calibration(model: Path) -> dict[str, Any] | None:
    """The calibration kept with a model; ``None`` where there is none.

    Args:
        model: An ONNX file, in whose metadata ``lh2face export-onnx --evaluation`` writes it, or
            the folder of a trained model, beside which the pipeline puts ``evaluation``.

    Raises:
        ValueError: If the file is not ONNX, what it holds is no calibration, or as
            :func:`read_metrics`.
    """
    if not model.is_dir():
        found = read_metadata(model).get("calibration")
        return None if found is None else _checked(found, model)
    evaluation = model.parent / "evaluation"
    if not evaluation.is_dir():
        return None
    return _checked(calibration(read_metrics(evaluation, model)), evaluation / METRICS)


def _checked(found: Any, path: Path) -> dict[str, Any]:
    """What a file has as a calibration, if all that is used of it is there and finite."""
    try:
        limits, kappa = found["threshold"], found["kappa"]
        numbers = [*map(float, limits), *limits.values(), found["impostor"], kappa["p5"]]
        texts = [found["source"], *found["bins"]]
        good = all(map(isfinite, numbers)) and all(isinstance(text, str) for text in texts)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f"{path}: calibration: expected finite thresholds by FAR, their count of impostor "
            "pairs, source and bins, and the κ of the benchmark; evaluate or export the model again"
        )
    checked: dict[str, Any] = found
    return checked
