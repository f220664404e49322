"""What a score and a κ mean for one model: thresholds by FAR, and the κ of a benchmark."""

from pathlib import Path
from typing import Any

from lh2face.artifacts.onnx_metadata import read_metadata
from lh2face.artifacts.outputs import read_json

METRICS = "metrics.json"


def read_metrics(evaluation: Path) -> dict[str, Any]:
    """The figures of a folder of stage ``evaluate``.

    Raises:
        ValueError: If it is not one.
    """
    path = evaluation / METRICS
    metrics = read_json(path, "a folder of stage evaluate")
    if "single_images" not in metrics:
        raise ValueError(f"{path}: there is no single_images; evaluate the model again")
    return metrics


def calibration(metrics: dict[str, Any]) -> dict[str, Any]:
    """The part of an evaluation's figures that belongs to the model.

    Returns:
        ``threshold``, by FAR as text, above which two single photos pass for one person;
        ``impostor``, how many pairs that was measured on, of which ``source`` of faces, and in
        which ``bins``; ``kappa``: ``mean``, ``std``, ``p5`` (the 5th percentile) of the faces.
    """
    return {**metrics["single_images"], "bins": list(metrics["bins"]), "kappa": metrics["kappa"]}


def read_calibration(model: Path) -> dict[str, Any] | None:
    """The calibration kept with a model; ``None`` where there is none.

    Args:
        model: An ONNX file, in whose metadata ``lh2face export-onnx --evaluation`` writes it, or
            the folder of a trained model, beside which the pipeline puts ``evaluation``.

    Raises:
        ValueError: If the file is not ONNX, or as :func:`read_metrics`.
    """
    if model.is_dir():
        evaluation = model.parent / "evaluation"
        return calibration(read_metrics(evaluation)) if evaluation.is_dir() else None
    return read_metadata(model).get("calibration")
