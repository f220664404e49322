"""What came out of the study, as tables: figures of every run, and differences with intervals."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lh2face.stages.calibration import METRICS
from lh2face.stages.comparison import Run, compare, read_run
from lh2face.stages.provenance import PROVENANCE
from lh2face.study.plan import SUBJECT, Heads, Part, Plan, folders
from lh2face.study.run import choose

# The mean κ of a run's faces, which the figures of runs have no interval of.
KAPPA = "kappa.mean"
FIGURES, DIFFERENCES, ORIGIN = "figures.csv", "differences.csv", "origin.json"


def collect(plan: Plan, out: Path, to: Path) -> None:
    """Write ``figures.csv``, ``differences.csv`` and ``origin.json`` of the parts that were run.

    Args:
        plan: The study.
        out: Folder in which it was run.
        to: Folder to write.

    Raises:
        ValueError: If ``tuning`` was not run, or a part is not whole.
    """
    chosen = choose(plan, out)
    parts = {
        name: part
        for name, part in plan.parts.items()
        if all(folder.exists() for folder in folders(out, name, part))
    }
    figures, differences, origins = [], [], {}
    for name, part in parts.items():
        runs = read_runs(plan, part, chosen, folders(out, name, part))
        figures += [
            (name, model, number, path, value)
            for model, run in runs.items()
            for path in part.figures
            for number, value in enumerate(run.figures[path])
        ]
        figures += [
            (name, model, number, KAPPA, json.loads(path.read_text())["kappa"]["mean"])
            for model in runs
            for number, path in enumerate(evaluations(folders(out, name, part), model))
        ]
        differences += [
            (name, *row) for row in compare_runs(plan, part, runs, out) if row[2] in part.figures
        ]
        origins[name] = origin(folders(out, name, part)[0])
    to.mkdir(parents=True, exist_ok=True)
    columns = ["part", "model", "run", "figure", "value"]
    pd.DataFrame(figures, columns=columns).to_csv(to / FIGURES, index=False, float_format="%.5g")
    columns = ["part", "model", "reference", "figure", "difference", "low", "high"]
    pd.DataFrame(differences, columns=columns).to_csv(
        to / DIFFERENCES, index=False, float_format="%.5g"
    )
    text = json.dumps({"chosen": chosen, "parts": origins}, indent=2)
    (to / ORIGIN).write_text(text + "\n")


def evaluations(where: list[Path], model: str) -> list[Path]:
    """The figures of a part's runs of a model."""
    found = (sorted((folder / "runs" / model).glob(f"*/evaluation/{METRICS}")) for folder in where)
    return [path for paths in found for path in paths]


def read_runs(plan: Plan, part: Part, chosen: Heads, where: list[Path]) -> dict[str, Run]:
    """The evaluations of a part, by model; a run of it is a fold and a seed."""
    return {
        model: read_run(*(folder / "runs" / model for folder in where))
        for model in plan.heads(part, chosen)
    }


def compare_runs(
    plan: Plan, part: Part, runs: dict[str, Run], out: Path
) -> Iterator[tuple[str, str, str, float, float, float]]:
    """Rows (model, reference, figure, difference, ends of its 95 % interval).

    Of heads that compete, the contender against each other one; of variants, each against the
    subject; of the subject alone, against itself as it is in the part that is its reference.
    """
    pairs = []
    contender = plan.contender(part)
    if contender is not None:
        pairs = [(contender, other, runs[contender], runs[other]) for other in runs]
    elif part.models == "variants":
        pairs = [(variant, SUBJECT, runs[variant], runs[SUBJECT]) for variant in runs]
    elif part.reference is not None:
        folder = out / part.reference / "runs" / SUBJECT
        elsewhere = read_run(*(folder / str(seed) for seed in part.seeds))
        pairs = [(SUBJECT, part.reference, runs[SUBJECT], elsewhere)]
    for model, reference, first, second in pairs:
        if model == reference:
            continue
        for found in compare(first, second):
            yield (
                model, reference, found.figure, found.first - found.second, *found.interval,
            )  # fmt: skip


def origin(folder: Path) -> dict[str, Any]:
    """Commit, versions and device of a part, from the provenance of its models."""
    model = sorted(folder.glob("runs/*/*/model/model.json"))[0]
    made = json.loads(model.read_text())["provenance"]
    evaluation = sorted(folder.glob(f"runs/*/*/evaluation/{PROVENANCE}"))[0]
    return {
        "models": made["commit"],
        "evaluations": json.loads(evaluation.read_text())["commit"],
        "device": made["device"],
        "versions": made["versions"],
    }
