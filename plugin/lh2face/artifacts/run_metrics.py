"""Readers of ``metrics.json`` and ``training.csv``, which trainings and measurements write."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lh2face.files.json_object import number, read_object
from lh2face.files.tables import read_rows

METRICS = "metrics.json"


def positive(text: str) -> float:
    """Convert a cell to a number above 0.

    Raises:
        ValueError: If it is not a finite number above 0.
    """
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(f"expected a number above 0, found {text!r:.80}")
    return value


def read_record(path: Path, batch_size: int) -> tuple[dict[str, float], dict[str, float]]:
    """Read the ``training.csv`` of a run; interruptions leave no gap in it.

    Args:
        path: The file.
        batch_size: Images per step, over all processes.

    Returns:
        ``steps``, ``images_per_second`` and ``seconds``; and each loss by name, from the last row,
        which has means over its steps.

    Raises:
        ValueError: If the file has no row, or a row is not valid.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        names = file.readline().strip().split(",")
    losses = [name for name in names if "loss" in name]
    columns: dict[str, Callable[[str], float]] = {
        "step": positive, "images_per_second": positive, **dict.fromkeys(losses, float)
    }  # fmt: skip
    rows = read_rows(path, columns)
    if not rows:
        raise ValueError(f"{path}: has no row")
    before = [0.0, *(row["step"] for row in rows)]
    seconds = sum(
        (row["step"] - start) * batch_size / row["images_per_second"]
        for row, start in zip(rows, before, strict=False)
    )
    steps = int(rows[-1]["step"])
    cost = {
        "steps": steps,
        "images_per_second": round(steps * batch_size / seconds, 1),
        "seconds": round(seconds, 3),
    }
    return cost, {name: rows[-1][name] for name in losses}


def read_fit(path: Path) -> dict[str, Any]:
    """Read the ``metrics.json`` of stage ``fit3d``.

    Returns:
        ``steps``, ``images_per_second``, ``seconds``, ``peak_memory_mib`` (None if it was not
        measured), and the losses by name.

    Raises:
        ValueError: If one of the first four is not a finite number, or one of the first three is
            not above 0.
    """
    found = read_object(path, "a folder of stage fit3d")
    if found.get("peak_memory_mib") is not None:
        number(found["peak_memory_mib"], path, "peak_memory_mib")
    for key in ("steps", "images_per_second", "seconds"):
        if number(found.get(key), path, key) <= 0:
            raise ValueError(f"{path}: expected {key} above 0, found {found[key]}")
    return {"peak_memory_mib": None, **found}


def read_depth(path: Path) -> dict[str, dict[str, float]]:
    """Read the ``metrics.json`` of stage ``depth``: ``SIDE`` and ``MAD`` by the name of the depth.

    Raises:
        ValueError: If one of these is not a finite number.
    """
    measured = {}
    for name, errors in read_object(path, "a folder of stage depth").items():
        given = errors if isinstance(errors, dict) else {}
        measured[name] = {
            key: number(given.get(key), path, f"{name}.{key}") for key in ("SIDE", "MAD")
        }
    return measured
