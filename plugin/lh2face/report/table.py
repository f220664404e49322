"""Tables that compare the models: one per benchmark, and one overview."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from lh2face.evaluation.bootstrap import interval
from lh2face.evaluation.comparison import Run, compare
from lh2face.evaluation.evidence import number_of_people
from lh2face.evaluation.metric_names import title

# Titles of groups of columns, by the section of metrics.json, in the order of the table.
GROUPS = {
    "verification": "templates",
    "identification": "templates",
    "bins": "pairs, accuracy",
    "conditions": "single faces, TAR at FAR 1e-2",
}
IDENTIFICATION = ["identification.rank.1", "identification.tpir.0.1"]
CONDITION_FAR = "0.01"
# Number of FARs that are shown: the lowest ones that were measured.
FARS = 3
# Column of a benchmark in the overview; its first column if it does not have this one.
HEADLINE = "verification.tar.0.0001"


def table(runs: dict[str, Run]) -> dict[str, Any]:
    """Make the table of a benchmark: figures in percent, as means over seeds with intervals.

    Args:
        runs: Evaluations of each model on the benchmark.

    Returns:
        ``paths``: paths of the columns in metrics.json; ``columns``: their titles; ``rows``: pairs
        of a model and its cells; ``leads``: for each column the best model, the second best, and
        their difference with its interval; empty for a single model; ``people``: a sentence on the
        number of people; ``blocks``: the same table, cut into blocks by ``GROUPS``.
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
    """Cut a table into blocks, one per group of columns.

    Yields:
        ``groups``: pairs of a title and its number of columns; ``heads``: titles of the columns;
        ``rows`` and ``leads`` of these columns.
    """
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
    """Yield the paths of the figures to show, among those that every model has."""
    first, *others = (run.figures for run in runs.values())
    shared = [path for path in first if all(path in figures for figures in others)]
    rates = [path for path in shared if path.startswith("verification.tar.")]
    yield from sorted(rates, key=lambda path: float(path.split(".", 2)[2]))[:FARS]
    yield from (path for path in IDENTIFICATION if path in shared)
    yield from (path for path in shared if section(path) == "bins")
    yield from (p for p in shared if section(p) == "conditions" and p.endswith(f".{CONDITION_FAR}"))


def overview(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Make a table with one column per benchmark, in the form of a block of :func:`table`."""
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
    """Return the section of metrics.json that has a figure."""
    return path.split(".", 1)[0]


def head(path: str) -> str:
    """Return the title of a column below the title of its group."""
    name, inner = section(path), path.split(".", 1)[1]
    cut = {"bins": ".accuracy", "conditions": f".{CONDITION_FAR}"}
    return inner.removesuffix(cut[name]).replace("_", " ") if name in cut else title(path)


def cell(run: Run, path: str) -> dict[str, float]:
    """Compute mean, standard deviation over seeds and interval of one figure, in percent."""
    values = 100 * run.figures[path]
    low, high = interval(100 * run.draws[path].mean(axis=0))
    spread = values.std(ddof=1) if len(values) > 1 else np.nan
    return {"mean": values.mean(), "spread": spread, "low": low, "high": high}


def lead(runs: dict[str, Run], path: str) -> dict[str, Any]:
    """Compare the best model with the second best in one figure, in percent."""
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
