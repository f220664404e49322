"""The records of a training: ``training.csv`` by steps, ``validation.csv`` by validations."""

import contextlib
import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lh2face.files.tables import append_row, read_header, read_rows, write_rows
from lh2face.text import from_cell

TRAINING, VALIDATION = "training.csv", "validation.csv"
# Name of the means over all benchmarks of a validation.
MEAN = "mean"


def record_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a record; the first row also writes the header."""
    append_row(path, {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def drop_rows(path: Path, last_step: int) -> None:
    """Drop the rows of a record after a given step, and all rows that are damaged.

    A row may be incomplete because the process was killed, or damaged by a power cut.
    """
    if not path.exists():
        return
    kept = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = ([from_cell(cell) for cell in row] for row in csv.reader(file))
        # A damaged row may open a quote that no row closes.
        with contextlib.suppress(csv.Error):
            header = next(rows, [])
            for row in rows:
                if _is_row_until(row, header, last_step):
                    kept.append(row)
    if not kept:
        path.unlink()
        return
    new = path.with_name(f".{path.name}.new")
    write_rows(new, header, kept)
    new.replace(path)


def _is_row_until(row: list[str], header: list[str], last_step: int) -> bool:
    try:
        # All cells are numbers, except the name in a record of validations.
        step, *_ = [float(c) for c, of in zip(row, header, strict=True) if of != "name"]
    except ValueError:
        return False
    return step <= last_step


def positive(text: str) -> float:
    """Convert a cell to a number above 0.

    Raises:
        ValueError: If it is not a finite number above 0.
    """
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(f"expected a number above 0, found {text!r:.80}")
    return value


def read_training(path: Path, batch_size: int) -> tuple[dict[str, float], dict[str, float]]:
    """Read the ``training.csv`` of a run, which has all steps even if the run was interrupted.

    Args:
        path: The file.
        batch_size: Images per step, over all processes.

    Returns:
        ``steps``, ``images_per_second`` and ``seconds`` of the run; and the losses by name, from
        the last row. A row has means over the steps since the row before.

    Raises:
        ValueError: If the file has no row, or a row is not valid.
    """
    losses = [name for name in read_header(path) if "loss" in name]
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


def read_validations(path: Path) -> list[dict[str, float]]:
    """Read the metrics of each validation in a ``validation.csv``, in order of the steps.

    A figure that a list of pairs does not have is NaN in the record, and left out here.

    Returns:
        For each step, the figures by ``name/figure``; empty if there is no file.

    Raises:
        ValueError: If a row is not valid.
    """
    if not path.exists():
        return []
    found: dict[str, dict[str, float]] = {}
    columns = dict.fromkeys(read_header(path), float) | {"step": str, "name": str}
    for row in read_rows(path, columns):
        name, metrics = row.pop("name"), found.setdefault(row.pop("step"), {})
        metrics |= {f"{name}/{key}": v for key, v in row.items() if not math.isnan(v)}
    return list(found.values())
