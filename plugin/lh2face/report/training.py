"""Content of the page for the trainings of the recognizers and of the reconstructor."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lh2face.artifacts.file_names import DESCRIPTION
from lh2face.artifacts.training_record import MEAN, TRAINING, VALIDATION, read_training
from lh2face.files.arrays import read_arrays
from lh2face.files.json_object import read_object
from lh2face.files.tables import read_rows
from lh2face.report import plots
from lh2face.report.pictures import png, strip

# The plots of the trainings: name, table, function.
TRAININGS = [("loss", "training", plots.loss), ("accuracy", "validation", plots.accuracy)]


def trained_on(folder: Path) -> dict[str, Any]:
    """Describe the training faces of a model, as far as its folder says.

    Returns:
        Number of ``people``, ``origin``, and counts for each of the ``sources``.
    """
    description = read_object(folder / "model" / DESCRIPTION, "a trained model's folder")
    made = description.get("provenance", {}).get("params", {})
    found = {
        "people": (description.get("head") or {}).get("num_classes"), "origin": made.get("source"),
        "sources": made.get("sources"),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


def reconstructions(samples: Path) -> dict[str, Any]:
    """Read the sample faces of the reconstructor.

    Returns:
        ``turns`` in degrees, and ``reconstructions``: the pictures of each face by name. The
        picture ``turned`` shows all turns side by side.
    """
    arrays = read_arrays(samples, "input", "turned", "turns")
    turns = arrays.pop("turns").tolist()
    draw = {name: strip if name == "turned" else png for name in arrays}
    rows = [
        {name: draw[name](array[i]) for name, array in arrays.items()}
        for i in range(len(arrays["input"]))
    ]
    return {"turns": turns, "reconstructions": rows}


def training_plots(folders: dict[str, list[Path]], trained: list[str]) -> dict[str, Any]:
    """Draw the loss and, if there is one, the validation of the trainings, as Plotly's JSON.

    Args:
        folders: Folders of each model, one per seed; their order decides the colours.
        trained: The models that were trained by the pipeline.
    """
    records = {
        model: [training_record(folder / "model") for folder in of_model if model in trained]
        for model, of_model in folders.items()
    }
    seeds = [seed for of_model in records.values() for seed in of_model]
    found = {
        f"training/{name}": draw(records)
        for name, table, draw in TRAININGS
        if any(not seed[table].empty for seed in seeds)
    }
    return {name: json.loads(figure.to_json()) for name, figure in found.items()}


def training_record(model: Path) -> dict[str, pd.DataFrame]:
    """Read the tables ``training`` and ``validation`` of a training; the second may be empty."""
    rows = read_rows(model / TRAINING, {"step": int}, {"loss": float})
    found = []
    if (path := model / VALIDATION).exists():
        found = read_rows(path, {"step": int, "name": str}, {"accuracy": float})
    means = [row for row in found if row["name"] == MEAN]
    return {
        "training": pd.DataFrame(rows, columns=["step", "loss"]).dropna(),
        "validation": pd.DataFrame(means, columns=["step", "accuracy"]).dropna(),
    }


def training_cost(folders: list[Path], batch_size: int) -> dict[str, float]:
    """Compute steps, images per second and seconds of a training, as means over the seeds."""
    records = [folder / "model" / TRAINING for folder in folders]
    costs = [read_training(record, batch_size)[0] for record in records]
    return {name: np.mean([cost[name] for cost in costs]).item() for name in costs[0]}
