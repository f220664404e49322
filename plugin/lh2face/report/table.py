"""The tables that compare the models: one a benchmark, and one of them all."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from lh2face.evaluation.bootstrap import interval
from lh2face.evaluation.comparison import Run, compare
from lh2face.evaluation.evidence import number_of_people
from lh2face.evaluation.metric_names import title

# What columns side by side are figures of, by the section of metrics.json, in their order.
GROUPS = {
    "verification": "templates",
    "identification": "templates",
    "bins": "pairs, accuracy",
    "conditions": "single faces, TAR at FAR 1e-2",
}
IDENTIFICATION = ["identification.rank.1", "identification.tpir.0.1"]
CONDITION_FAR = "0.01"
# How many FARs are shown, the lowest that are measured.
FARS = 3
# A benchmark's column in the table of them all: this one, else its first.
HEADLINE = "verification.tar.0.0001"


def table(runs: dict[str, Run]) -> dict[str, Any]:
    """Figures of each model in percent: mean and spread over seeds, and the bootstrap's interval.

    Returns:
        ``paths`` of the columns in metrics.json, and their names, ``columns``; ``rows`` of (model,
        a cell a column); ``leads``, for each column the best model, the second, and their
        difference with its interval, none of a single model; ``people``, a sentence on how many it
        was measured on; and ``blocks``, the same cut where ``GROUPS`` change.
    """
    paths = list(columns(runs))
    leads = [lead(runs, path) for path in paths] if len(runs) > 1 else []
    bests = [ahead["best"] for ahead in leads] or [None] * len(paths)
    rows = [
        (
            model,
            [
                cell(run, path) | {"best": model == best}
                for path, best in zip(paths, bests, strict=True)
            ],
        )
        for model, run in runs.items()
    ]
    first, *_ = runs.values()
    made = {
        "paths": paths, "columns": list(map(title, paths)), "rows": rows, "leads": leads,
        "people": number_of_people(first.people),
    }  # fmt: skip
    return {**made, "blocks": list(blocks(made))}


def blocks(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The blocks of a table: ``groups`` (name, number of columns), below them ``heads`` of the
    columns, ``rows`` and ``leads``."""
    heads, start = list(map(head, made["paths"])), 0
    for name, found in groupby(GROUPS[section(path)] for path in made["paths"]):
        cut = slice(start, start + len(list(found)))
        rows = [(model, cells[cut]) for model, cells in made["rows"]]
        yield {
            "groups": [(name, cut.stop - start)], "heads": heads[cut], "rows": rows,
            "leads": made["leads"][cut],
        }  # fmt: skip
        start = cut.stop


def columns(runs: dict[str, Run]) -> Iterator[str]:
    """The figures shown, of those that every model has: the benchmark says which there are."""
    first, *others = (run.figures for run in runs.values())
    shared = [path for path in first if all(path in figures for figures in others)]
    rates = [path for path in shared if path.startswith("verification.tar.")]
    yield from sorted(rates, key=lambda path: float(path.split(".", 2)[2]))[:FARS]
    yield from (path for path in IDENTIFICATION if path in shared)
    yield from (path for path in shared if section(path) == "bins")
    yield from (p for p in shared if section(p) == "conditions" and p.endswith(f".{CONDITION_FAR}"))


def overview(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One column a benchmark, in the form of a block of :func:`table`."""
    at = {
        name: made["paths"].index(HEADLINE) if HEADLINE in made["paths"] else 0
        for name, made in tables.items()
        if made["paths"]
    }
    models = [model for model, _ in next(iter(tables.values()))["rows"]]
    return {
        "heads": [tables[name]["columns"][column] for name, column in at.items()],
        "groups": [(name, 1) for name in at],
        "rows": [
            (model, [tables[name]["rows"][row][1][column] for name, column in at.items()])
            for row, model in enumerate(models)
        ],
        "leads": [
            tables[name]["leads"][column] for name, column in at.items() if tables[name]["leads"]
        ],
    }


def section(path: str) -> str:
    """The section of metrics.json that a figure is in."""
    return path.split(".", 1)[0]


def head(path: str) -> str:
    """What stands above a column, below the name of its group."""
    name, inner = section(path), path.split(".", 1)[1]
    cut = {"bins": ".accuracy", "conditions": f".{CONDITION_FAR}"}
    return inner.removesuffix(cut[name]).replace("_", " ") if name in cut else title(path)


def cell(run: Run, path: str) -> dict[str, float]:
    """One figure of one model, in percent."""
    values = 100 * run.figures[path]
    low, high = interval(100 * run.draws[path].mean(axis=0))
    spread = values.std(ddof=1) if len(values) > 1 else np.nan
    return {"mean": values.mean(), "spread": spread, "low": low, "high": high}


def lead(runs: dict[str, Run], path: str) -> dict[str, Any]:
    """How far the best model is ahead of the second in one figure, in percent."""
    best, second = sorted(runs, key=lambda model: -runs[model].figures[path].mean())[:2]
    (found,) = (d for d in compare(runs[best], runs[second]) if d.figure == path)
    return {
        "best": best,
        "second": second,
        "difference": 100 * (found.first - found.second),
        "low": 100 * found.interval[0],
        "high": 100 * found.interval[1],
        "significant": found.significant,
    }
