"""Collecting the results of the study in tables, which have no photos or names of people."""

import json
import logging
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lh2face.evaluation.comparison import compare
from workflow.study.real.faces import Photos
from workflow.study.real.figures import TITLES, figures_of, joined_runs
from workflow.study.real.plan import Config, Plan, Run, part_runs, tuning_runs
from workflow.study.real.run import about, choose, embeddings_of, is_done, left_out, scores

log = logging.getLogger(__name__)
FIGURES, DIFFERENCES, ORIGIN = "real_figures.csv", "real_differences.csv", "real_origin.json"
# A row of a table: head and view.
Row = tuple[str, str]
# By seed and name: a figure, and its values in the rounds of the bootstrap.
BySeed = dict[int, dict[str, np.ndarray]]


def collect(plan: Plan, photos: Photos, out: Path, to: Path) -> None:
    """Write the figures of every run, the differences with intervals, and the provenance.

    For each head and view, the seeds count whose runs are all done.

    Args:
        plan: The study.
        photos: The faces.
        out: Folder of the results of the runs.
        to: Folder to which the tables are written.

    Raises:
        ValueError: If a candidate was not run, or no part can be shown.
    """
    chosen = choose(plan, photos, out)
    figures, differences, origins = [], [], {}
    found: dict[str, dict[Row, BySeed]] = {}
    for name in plan.parts:
        done = rows_of(plan, name, part_runs(plan, name, chosen), out)
        if not done:
            log.warning("%s is left out: %s and another head have no seed whose runs are all done",
                        name, plan.subject)  # fmt: skip
            continue
        found[name] = {
            row: {seed: _figures(plan, photos, out, runs) for seed, runs in by_seed.items()}
            for row, by_seed in done.items()
        }
        figures += [
            (name, *row, seed, figure, of_seed[figure][0])
            for row, by_seed in found[name].items()
            for figure in TITLES
            for seed, of_seed in by_seed.items()
        ]
        differences += [(name, *row) for row in _differences(plan, name, found)]
        runs = [run for by_seed in done.values() for of_seed in by_seed.values() for run in of_seed]
        origins[name] = _origin(runs, out)
    if not origins:
        raise ValueError(
            f"{out}: no part can be shown; {plan.subject} and another head need a seed whose runs "
            "are all done"
        )
    to.mkdir(parents=True, exist_ok=True)
    write = partial(pd.DataFrame.to_csv, index=False, float_format="%.5g")
    columns = ["part", "head", "view", "seed", "figure", "value"]
    write(pd.DataFrame(figures, columns=columns), to / FIGURES)
    columns = ["part", "first", "second", "figure", "difference", "low", "high"]
    write(pd.DataFrame(differences, columns=columns), to / DIFFERENCES)
    folds = photos.folds()
    made = {
        "cfp": {
            "people": len(set(photos.cfp.names)),
            "photos": len(folds),
            "folds": len(set(folds.tolist())),
        },
        "tuning": {"scores": scores(plan, photos, out), **_origin(list(tuning_runs(plan)), out)},
        "chosen": chosen,
        "parts": origins,
    }
    (to / ORIGIN).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def rows_of(
    plan: Plan, name: str, runs: Iterable[Run], out: Path
) -> dict[Row, dict[int, list[Run]]]:
    """Return the finished runs of a part, by row and seed.

    A seed counts if all its runs are done, of which there is one, or one per fold. A view counts if
    the subject and another head have a seed in it.
    """
    rows: dict[Row, dict[int, list[Run]]] = {}
    for one in runs:
        rows.setdefault((one.head, one.view), {}).setdefault(one.seed, []).append(one)
    done = {
        row: whole
        for row, by_seed in rows.items()
        if (
            whole := {
                seed: of_seed
                for seed, of_seed in by_seed.items()
                if all(is_done(plan, one, out) for one in of_seed)
            }
        )
    }
    subjects = plan.subjects(plan.parts[name])
    views = {view for head, view in done if head == plan.subject}
    views &= {view for head, view in done if head not in subjects}
    return {row: by_seed for row, by_seed in done.items() if row[1] in views}


def _figures(plan: Plan, photos: Photos, out: Path, runs: list[Run]) -> dict[str, Any]:
    """Compute the figures of a seed from its runs, which together test all people."""
    folds = photos.folds()
    embeddings = np.empty((len(folds), 2, plan.backbone["embedding_size"]), np.float32)
    for one in runs:
        embeddings[left_out(one, folds)] = embeddings_of(one, out)
    return figures_of(photos.cfp, embeddings, folds, photos.frontal, photos.profile)


def _differences(
    plan: Plan, name: str, found: dict[str, dict[Row, BySeed]]
) -> Iterator[tuple[str, str, str, float, float, float]]:
    """Yield rows (first, second, figure, difference, low and high end of its 95 % interval).

    In each view, the subject and its variants are compared with each other head. Each view of a
    head is compared with its later views. Each row is compared with the same row of the part in
    ``against``. Only the seeds that both have count. If there is only one, its variance is not
    known, and there is no row.
    """
    part, rows = plan.parts[name], found[name]
    pairs: list[tuple[str, Row, str, Row]] = []
    for subject, view, head in product(plan.subjects(part), part.views, part.heads):
        if head not in (subject, *plan.variants):
            pairs.append((name, (subject, view), name, (head, view)))
    for head, (view, later) in product(part.heads, combinations(part.views, 2)):
        pairs.append((name, (head, view), name, (head, later)))
    base = part.against
    if base in found:
        pairs += [(name, row, base, row) for row in rows if row in found[base]]
    for first_part, first, second_part, second in pairs:
        one, other = found[first_part].get(first, {}), found[second_part].get(second, {})
        seeds = [seed for seed in one if seed in other]
        if len(seeds) < 2:
            continue
        label = "-".join(second) if second_part == name else f"{second_part}:{'-'.join(second)}"
        for difference in compare(*(joined_runs([run[s] for s in seeds]) for run in (one, other))):
            yield (
                "-".join(first), label, difference.figure,
                difference.first - difference.second, *difference.interval,
            )  # fmt: skip


def _origin(runs: list[Run], out: Path) -> Config:
    """Return the commits of runs, their numbers of faces and people, and their duration."""
    made = [about(one, out) for one in runs]
    seen = [sorted({one[key] for one in made}) for key in ("faces", "people")]
    return {
        "commits": sorted({str(one["commit"]) for one in made}),
        "runs": len(made), "faces": seen[0], "people": seen[1],
        "hours": round(sum(one["seconds"] for one in made) / 3600, 2),
    }  # fmt: skip
