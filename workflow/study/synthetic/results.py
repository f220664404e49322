"""Collecting the results of the study in tables: figures of all runs, and their differences."""

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from lh2face.artifacts.evaluations import read_run
from lh2face.artifacts.file_names import DESCRIPTION, METRICS
from lh2face.artifacts.info import read_provenance
from lh2face.artifacts.provenance import PROVENANCE
from lh2face.evaluation.comparison import Run, compare
from lh2face.files.json_object import number, read_object
from lh2face.params import read_yaml
from workflow.study.synthetic.plan import SUBJECT, Heads, Part, Plan, folders
from workflow.study.synthetic.run import COMMAND, OVERLAY, choose, overlay

log = logging.getLogger(__name__)

# Name of the figure for the mean κ of a run's faces. It has no interval.
KAPPA = "kappa.mean"
FIGURES, DIFFERENCES, ORIGIN = "figures.csv", "differences.csv", "origin.json"


def collect(plan: Plan, out: Path, to: Path) -> None:
    """Write ``figures.csv``, ``differences.csv`` and ``origin.json`` of the complete parts.

    Args:
        plan: The study.
        out: Folder of the study's clones.
        to: Folder to which the tables are written.

    Raises:
        ValueError: If no part is complete, or an evaluation lacks a figure of the plan.
    """
    figures, differences, origins = [], [], {}
    choices: dict[str, Heads] = {}
    for name, part in plan.parts.items():
        tunes = part.models == "candidates"
        if not tunes and part.tuning not in choices:
            log.warning("%s is left out: it has no %s", name, out / part.tuning)
            continue
        chosen = {} if tunes else choices[part.tuning]
        where = {model: plan.evaluations(out, name, model) for model in plan.heads(part, chosen)}
        missing = [folder for paths in where.values() for folder in paths if not folder.exists()]
        if missing:
            log.warning("%s is left out: it has no %s", name, missing[0])
            continue
        if tunes:
            choices[name] = choose(plan, out, name)
        for fold, folder in enumerate(folders(out, name, part)):
            if read_yaml(folder / OVERLAY) != overlay(plan, name, fold, chosen):
                log.warning(
                    "%s: %s differs from the current plan; run the part again",
                    name,
                    folder / OVERLAY,
                )
        runs = {model: read_figures(name, part, paths) for model, paths in where.items()}
        figures += [
            (name, model, index, path, value)
            for model, run in runs.items()
            for path in part.figures
            for index, value in enumerate(run.figures[path])
        ]
        figures += [
            (name, model, index, KAPPA, mean_kappa(folder / METRICS))
            for model, paths in where.items()
            for index, folder in enumerate(paths)
        ]
        differences += [
            (name, *row) for row in compare_runs(plan, part, runs, out) if row[2] in part.figures
        ]
        origins[name] = origin([folder for paths in where.values() for folder in paths])
    if not origins:
        raise ValueError(f"{out}: no part of the plan is complete; run `{COMMAND}` first")
    to.mkdir(parents=True, exist_ok=True)
    columns = ["part", "model", "run", "figure", "value"]
    pd.DataFrame(figures, columns=columns).to_csv(to / FIGURES, index=False, float_format="%.5g")
    columns = ["part", "model", "reference", "figure", "difference", "low", "high"]
    pd.DataFrame(differences, columns=columns).to_csv(
        to / DIFFERENCES, index=False, float_format="%.5g"
    )
    text = json.dumps({"chosen": choices, "parts": origins}, indent=2)
    (to / ORIGIN).write_text(text + "\n", encoding="utf-8")


def read_figures(name: str, part: Part, paths: list[Path]) -> Run:
    """Read the evaluations of a model, and check that they have every figure of the part."""
    run = read_run(*paths)
    if unknown := set(part.figures) - set(run.figures):
        raise ValueError(
            f"parts.{name}.figures: found {sorted(unknown)}, allowed are {list(run.figures)}"
        )
    return run


def compare_runs(
    plan: Plan, part: Part, runs: dict[str, Run], out: Path
) -> Iterator[tuple[str, str, str, float, float, float]]:
    """Yield rows (model, reference, figure, difference, low and high end of its 95 % interval).

    If a part compares heads, its contender is compared with each other head. Variants are compared
    with the subject. A single subject is compared with the subject of the part's reference.
    """
    pairs = []
    contender = plan.contender(part)
    if contender is not None:
        pairs = [(contender, other, runs[contender], runs[other]) for other in runs]
    elif part.models == "variants":
        pairs = [(variant, SUBJECT, runs[variant], runs[SUBJECT]) for variant in runs]
    elif part.reference is not None:
        paths = plan.evaluations(out, part.reference, SUBJECT, part.seeds)
        pairs = [(SUBJECT, part.reference, runs[SUBJECT], read_run(*paths))]
    for model, reference, first, second in pairs:
        if model == reference:
            continue
        for found in compare(first, second):
            yield (
                model, reference, found.figure, found.first - found.second, *found.interval,
            )  # fmt: skip


def mean_kappa(path: Path) -> float:
    """Read the mean κ from the ``metrics.json`` of an evaluation."""
    kappa = read_object(path, "an evaluation").get("kappa")
    return number(kappa.get("mean") if isinstance(kappa, dict) else None, path, KAPPA)


def origin(paths: list[Path]) -> dict[str, list[str]]:
    """Collect the commits, devices and versions behind a part's models and evaluations.

    Raises:
        ValueError: If one of them is not recorded.
    """
    models = [path.parents[1] / "model" / DESCRIPTION for path in paths]
    commits, devices, versions = [], [], []
    for path in (*models, *(path / PROVENANCE for path in paths)):
        made = read_provenance(path)
        try:
            commits.append(str(made["commit"]))
            if path in models:
                devices.append(str(made["device"]))
                versions += [f"{name} {version}" for name, version in made["versions"].items()]
        except (AttributeError, KeyError):
            raise ValueError(f"{path}: expected the commit, device and versions of a run") from None
    return {
        "commits": distinct(commits), "devices": distinct(devices), "versions": distinct(versions)
    }  # fmt: skip


def distinct(values: Iterable[str]) -> list[str]:
    """Return the distinct values in order of their first occurrence."""
    return list(dict.fromkeys(values))
