"""Content of the page for one benchmark: its table, plots, hardest pairs and faces."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lh2face.artifacts.evaluations import REJECT_COLUMNS, read_run
from lh2face.data.benchmark import Benchmark
from lh2face.data.images import decode_rgb
from lh2face.files.tables import PAIR_LIST, flag, read_rows
from lh2face.report import plots
from lh2face.report.kappa import extremes, read_calibration, truth
from lh2face.report.pictures import hardest, jpeg
from lh2face.report.table import table

ROWS, FACES_EACH, PAIRS, EXTREMES = 6, 8, 8, 6
# The tables of stage evaluate that are shown, and the types of their columns.
TABLES: dict[str, dict[str, Callable[[str], Any]]] = {
    "roc": {"far": float, "tar": float},
    "cmc": {"rank": int, "rate": float},
    "reject": dict.fromkeys(REJECT_COLUMNS, float),
    "calibration": {"predicted": float, "observed": float},
    "kappa": {"name": str, "kappa": float},
    "pairs": {
        "bin": str, **PAIR_LIST, "score": float, "kappa_first": float, "kappa_second": float,
        "right": flag,
    },
}  # fmt: skip
# The plots, by the table that they are drawn from.
CURVES = {
    "roc": [plots.roc, plots.det],
    "cmc": [plots.cmc],
    "reject": [plots.reject],
    "kappa": [plots.kappa],
    "calibration": [plots.calibration],
}
# Plots against conditions in images.csv: name, column, function of the column, title of the axis.
CONDITIONS: list[tuple[str, str, Callable[[pd.Series], pd.Series], str]] = [
    ("pose", "yaw", pd.Series.abs, "head turned away, degrees"),
    ("blur", "quality", lambda quality: 1 - quality, "degradation of the photograph"),
]


def benchmark_section(benchmark: Benchmark, where: dict[str, list[Path]]) -> dict[str, Any]:
    """Collect what the page shows of a benchmark.

    Args:
        benchmark: The benchmark.
        where: Folders of each model's evaluations on it, one per seed.

    Returns:
        ``about``, ``table`` and ``plots``; ``truth``: a sentence on κ; ``extremes``: the faces
        of least and greatest κ of each model's first seed; ``pairs``: the hardest pairs of each
        model; ``strips``: rows of pictures; ``strip``: "person" or "template", of which each row
        has pictures, or an empty text.
    """
    evaluations = {
        model: [read_tables(folder) for folder in folders] for model, folders in where.items()
    }
    for model, folders in where.items():
        for folder, tables in zip(folders, evaluations[model], strict=True):
            paired = {*tables["pairs"]["first"], *tables["pairs"]["second"]}
            if list(tables["kappa"]["name"]) != benchmark.names or paired - benchmark.rows.keys():
                raise ValueError(
                    f"{folder}: evaluated on other faces than those of {benchmark.folder}"
                )
    picture = face_pictures(benchmark)
    runs = {model: read_run(*folders) for model, folders in where.items()}
    calibrations = {model: list(map(read_calibration, folders)) for model, folders in where.items()}

    def named(name: str) -> str:
        return picture(benchmark.rows[name])

    strip, strips = face_rows(benchmark)
    return {
        "about": about(benchmark),
        "table": table(runs),
        "plots": all_plots(evaluations, benchmark),
        "truth": truth(calibrations, evaluations, runs),
        "extremes": {
            model: extremes(seeds[0], calibrations[model][0], named, EXTREMES)
            for model, seeds in evaluations.items()
        },
        "pairs": {
            model: hard_pairs(seeds[0]["pairs"], named)
            for model, seeds in evaluations.items()
            if benchmark.pairs
        },
        "strip": strip,
        "strips": [list(map(picture, rows)) for rows in strips],
    }


def read_tables(evaluation: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of stage ``evaluate``, by the name of the file without suffix."""
    return {
        name: pd.DataFrame(read_rows(evaluation / f"{name}.csv", columns), columns=[*columns])
        for name, columns in TABLES.items()
    }


def about(benchmark: Benchmark) -> dict[str, Any]:
    """Describe a benchmark.

    Returns:
        ``origin`` of the faces, numbers of faces, people, templates and pairs as far as it has
        them, and ``reference``: the kind of photograph with which all others are compared.
    """
    found: dict[str, Any] = {"origin": benchmark.origin, "faces": len(benchmark.names)}
    templates = benchmark.templates
    if (people := benchmark.people) is not None:
        found["people"] = people
    if templates is not None:
        found["templates"] = len(np.unique(templates.template_ids))
        found["template pairs"] = len(templates.first)
    if benchmark.pairs:
        found["pairs"] = {name: len(listed.same) for name, listed in benchmark.pairs.items()}
    if benchmark.knows("kind"):
        found["reference"] = str(benchmark.images["kind"][0])
    return found


def all_plots(evaluations: plots.Evaluations, benchmark: Benchmark) -> dict[str, Any]:
    """Draw the plots for which the benchmark has points, as Plotly's JSON by name."""
    found = {
        curve.__name__: curve(evaluations)
        for name, curves in CURVES.items()
        for curve in curves
        if not any(seed[name].empty for seeds in evaluations.values() for seed in seeds)
    }
    for name, column, change, title in CONDITIONS:
        if benchmark.knows(column):
            values = change(pd.Series(benchmark.images[column])).rename(title)
            names = pd.Series(benchmark.names)
            found[name] = plots.kappa_against(evaluations, names, values)
    return {name: json.loads(figure.to_json()) for name, figure in found.items()}


def face_pictures(benchmark: Benchmark) -> Callable[[int], str]:
    """Return a function from the row of a face to its picture, a JPEG to keep the page small."""

    @cache
    def picture(row: int) -> str:
        _, face = benchmark.faces[row + 1]
        return jpeg(decode_rgb(face, None, f"{benchmark.faces.path}: image {row}"))

    return picture


def face_rows(benchmark: Benchmark) -> tuple[str, list[list[int]]]:
    """Choose some of the faces: those of a few people or, if people are not known, of templates.

    Returns:
        "person" or "template", or an empty text if neither is known; and one list of rows per
        person or template.
    """
    what, of_face = "", np.zeros(len(benchmark.names), int)
    if benchmark.knows("identity"):
        what, of_face = "person", benchmark.images["identity"]
    elif benchmark.templates is not None:
        what, of_face = "template", benchmark.templates.template_ids
    groups = pd.Series(range(len(benchmark.names))).groupby(of_face).agg(list)
    if not what:
        some = _spread(groups.iloc[0], ROWS * FACES_EACH)
        return what, [some[i : i + FACES_EACH] for i in range(0, len(some), FACES_EACH)]
    largest = groups.iloc[(-groups.map(len)).argsort(kind="stable")[:ROWS]]
    return what, [_spread(rows, FACES_EACH) for rows in largest]


def hard_pairs(
    pairs: pd.DataFrame, picture: Callable[[str], str]
) -> dict[str, list[dict[str, Any]]]:
    """Find the :func:`hardest` pairs, and add the ``pictures`` of both faces to their rows."""
    return {
        kind: [
            {**row, "pictures": (picture(row["first"]), picture(row["second"]))}
            for row in rows.to_dict("records")
        ]
        for kind, rows in hardest(pairs, PAIRS).items()
    }


def _spread(rows: list[int], most: int) -> list[int]:
    """Choose at most ``most`` rows at equal distances, from the first to the last."""
    return [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
