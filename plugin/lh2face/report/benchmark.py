"""What the page shows of one benchmark: its table, plots, hardest pairs and faces."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lh2face.artifacts.evaluations import read_run
from lh2face.data.benchmark import Benchmark
from lh2face.data.images import decode_rgb
from lh2face.files.tables import PAIR_LIST, flag, read_rows
from lh2face.report import plots
from lh2face.report.kappa import extremes, read_calibration, truth
from lh2face.report.pictures import hardest, jpeg
from lh2face.report.table import table

ROWS, FACES_EACH, PAIRS, EXTREMES = 6, 8, 8, 6
# The tables of stage evaluate that are shown, and what their columns hold.
TABLES: dict[str, dict[str, Callable[[str], Any]]] = {
    "roc": {"far": float, "tar": float},
    "cmc": {"rank": int, "rate": float},
    "reject": {"rejected": float, "fnmr": float},
    "calibration": {"predicted": float, "observed": float},
    "kappa": {"name": str, "kappa": float},
    "pairs": {
        "bin": str, **PAIR_LIST, "score": float, "kappa_first": float, "kappa_second": float,
        "right": flag,
    },
}  # fmt: skip
# The figures, by the table that they are drawn from.
CURVES = {
    "roc": [plots.roc, plots.det],
    "cmc": [plots.cmc],
    "reject": [plots.reject],
    "kappa": [plots.kappa],
    "calibration": [plots.calibration],
}
# How faces were photographed, where images.csv says so: figure, column, what to plot, axis' title.
CONDITIONS: list[tuple[str, str, Callable[[pd.Series], pd.Series], str]] = [
    ("pose", "yaw", pd.Series.abs, "head turned away, degrees"),
    ("blur", "quality", lambda quality: 1 - quality, "degradation of the photograph"),
]


def benchmark_parts(asked: Benchmark, where: dict[str, list[Path]]) -> dict[str, Any]:
    """What the page shows of a benchmark.

    Args:
        asked: The benchmark.
        where: The evaluations on it of each model, one a seed.

    Returns:
        ``about``, ``table`` and ``figures``; ``truth``, a sentence on κ; of each model's first
        seed ``extremes``, the faces of least and greatest κ, and ``pairs``, the hardest; ``strips``
        of faces, and what a ``strip`` shows one of.
    """
    evaluations = {
        model: [read_tables(folder) for folder in folders] for model, folders in where.items()
    }
    for model, folders in where.items():
        for folder, tables in zip(folders, evaluations[model], strict=True):
            paired = {*tables["pairs"]["first"], *tables["pairs"]["second"]}
            if list(tables["kappa"]["name"]) != asked.names or paired - asked.rows.keys():
                raise ValueError(f"{folder}: evaluated on other faces than those of {asked.folder}")
    picture, runs = face_pictures(asked), {m: read_run(*folders) for m, folders in where.items()}
    calibrations = {model: list(map(read_calibration, folders)) for model, folders in where.items()}

    def named(name: str) -> str:
        return picture(asked.rows[name])

    strip, strips = face_rows(asked)
    return {
        "about": about(asked),
        "table": table(runs),
        "figures": all_figures(evaluations, asked),
        "truth": truth(calibrations, evaluations, runs),
        "extremes": {
            model: extremes(seeds[0], calibrations[model][0], named, EXTREMES)
            for model, seeds in evaluations.items()
        },
        "pairs": {
            model: hard_pairs(seeds[0]["pairs"], named)
            for model, seeds in evaluations.items()
            if asked.pairs
        },
        "strip": strip,
        "strips": [list(map(picture, rows)) for rows in strips],
    }


def read_tables(evaluation: Path) -> dict[str, pd.DataFrame]:
    """The tables of stage ``evaluate``, by the file's stem."""
    return {
        name: pd.DataFrame(read_rows(evaluation / f"{name}.csv", columns), columns=[*columns])
        for name, columns in TABLES.items()
    }


def about(asked: Benchmark) -> dict[str, Any]:
    """What a benchmark is: ``origin``, numbers of what it has, and the kind of photograph that the
    others are compared with, ``reference``."""
    found: dict[str, Any] = {"origin": asked.origin, "faces": len(asked.names)}
    templates = asked.templates
    if (people := asked.people) is not None:
        found["people"] = people
    if templates is not None:
        found["templates"] = len(np.unique(templates.template_ids))
        found["template pairs"] = len(templates.first)
    if asked.pairs:
        found["pairs"] = {name: len(listed.same) for name, listed in asked.pairs.items()}
    if asked.knows("kind"):
        found["reference"] = str(asked.images["kind"][0])
    return found


def all_figures(evaluations: plots.Evaluations, asked: Benchmark) -> dict[str, Any]:
    """Plotly's JSON of the figures that the benchmark has points of, by name."""
    found = {
        curve.__name__: curve(evaluations)
        for name, curves in CURVES.items()
        for curve in curves
        if not any(seed[name].empty for seeds in evaluations.values() for seed in seeds)
    }
    for name, column, change, title in CONDITIONS:
        if asked.knows(column):
            values = change(pd.Series(asked.images[column])).rename(title)
            names = pd.Series(asked.names)
            found[name] = plots.kappa_against(evaluations, names, values)
    return {name: json.loads(figure.to_json()) for name, figure in found.items()}


def face_pictures(asked: Benchmark) -> Callable[[int], str]:
    """From a row of a benchmark's faces to its picture: a JPEG, for a page of small size."""

    @cache
    def picture(row: int) -> str:
        _, face = asked.faces[row + 1]
        return jpeg(decode_rgb(face, None, f"{asked.faces.path}: image {row}"))

    return picture


def face_rows(asked: Benchmark) -> tuple[str, list[list[int]]]:
    """Rows of some of the faces: of a few people or, where nobody is known, of templates.

    Returns:
        What a list shows one of, nothing where not even that is known, and the lists.
    """
    what, of_face = "", np.zeros(len(asked.names), int)
    if asked.knows("identity"):
        what, of_face = "person", asked.images["identity"]
    elif asked.templates is not None:
        what, of_face = "template", asked.templates.template_ids
    groups = pd.Series(range(len(asked.names))).groupby(of_face).agg(list)
    if not what:
        some = _spread(groups.iloc[0], ROWS * FACES_EACH)
        return what, [some[i : i + FACES_EACH] for i in range(0, len(some), FACES_EACH)]
    largest = groups.iloc[(-groups.map(len)).argsort(kind="stable")[:ROWS]]
    return what, [_spread(rows, FACES_EACH) for rows in largest]


def hard_pairs(pairs: pd.DataFrame, picture: Callable[[str], str]) -> dict[str, list[dict]]:
    """The rows of :func:`hardest` with the two faces' ``pictures``."""
    return {
        kind: [
            {**row, "pictures": (picture(row["first"]), picture(row["second"]))}
            for row in rows.to_dict("records")
        ]
        for kind, rows in hardest(pairs, PAIRS).items()
    }


def _spread(rows: list[int], most: int) -> list[int]:
    """At most so many, from the first to the last at equal distances."""
    return [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
