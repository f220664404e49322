"""The table that compares the models."""

from typing import Any

import numpy as np

from lh2face.evaluation.bootstrap import interval
from lh2face.stages.comparison import Run, compare
from lh2face.stages.figures import title

# The figures shown, by their path in metrics.json; the conditions follow, at one FAR.
COLUMNS = [
    "verification.tar.0.0001",
    "verification.tar.0.001",
    "verification.tar.0.01",
    "identification.rank.1",
    "identification.tpir.0.1",
]
CONDITION_FAR = "0.01"


def table(runs: dict[str, Run]) -> dict[str, Any]:
    """Figures of each model in percent: mean and spread over seeds, and the bootstrap's interval.

    Returns:
        ``columns``; ``rows`` of (model, a cell a column); ``leads``, for each column the best
        model, the second, and their difference with its interval.
    """
    figures = next(iter(runs.values())).figures
    paths = [path for path in COLUMNS if path in figures]
    ends = f".{CONDITION_FAR}"
    paths += [path for path in figures if path.startswith("conditions.") and path.endswith(ends)]
    leads = [lead(runs, path) for path in paths]
    rows = [
        (
            model,
            [
                cell(run, path) | {"best": model == ahead["best"]}
                for path, ahead in zip(paths, leads, strict=True)
            ],
        )
        for model, run in runs.items()
    ]
    return {"columns": list(map(title, paths)), "rows": rows, "leads": leads}


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
