"""Stage ``report``: write the figures of all models as one page that opens offline."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.artifacts.file_names import METRICS
from lh2face.artifacts.provenance import provenance, write_provenance
from lh2face.artifacts.run_metrics import read_depth, read_fit
from lh2face.data.benchmark import read_benchmark
from lh2face.files.digests import digest
from lh2face.files.outputs import atomic_dir
from lh2face.files.tables import write_rows
from lh2face.report.answer import answer
from lh2face.report.benchmark import benchmark_section
from lh2face.report.page import rendered
from lh2face.report.pictures import jpeg
from lh2face.report.plots import leads
from lh2face.report.table import overview
from lh2face.report.training import reconstructions, trained_on, training_cost, training_plots
from lh2face.report.turned import turned_people
from lh2face.training.recipe import deciding_settings

if TYPE_CHECKING:
    from lh2face.params import Params

# Numbers of a benchmark that are shown if it has them.
COUNTED = ("people", "templates", "template pairs")
SHOWN_PROVENANCE = ("commit", "params_digest", "device", "versions")


def run(params: "Params", benchmarks: Path, runs: Path, out: Path) -> None:
    """Write ``index.html``, ``table.csv`` and ``provenance.json``.

    Figures and plots that a benchmark does not have are left out of the page.

    Args:
        params: The parameters; ``compare`` says which models, seeds and benchmarks are shown.
        benchmarks: Folder with the aligned benchmarks, by name.
        runs: Folder with the folders ``<model>/<seed>``, which have models and evaluations, and
            with the folders ``fit3d`` and ``depth``.
        out: Folder to write.

    Raises:
        ValueError: If a benchmark or the evaluation of a model is missing, or an evaluation was
            made on other faces.
    """
    compare = params.compare
    folders = {
        model: [runs / model / str(seed) for seed in compare.seeds] for model in compare.models
    }
    found: dict[str, dict[str, Any]] = {}
    read: dict[str, str] = {}
    for name in compare.benchmarks:
        where = {
            model: [folder / "evaluation" / name for folder in seeds]
            for model, seeds in folders.items()
        }
        found[name] = benchmark_section(read_benchmark(benchmarks / name), where)
        read |= {
            f"{model}/{seed}/{name}": digest(folder / METRICS)
            for model, evaluations in where.items()
            for seed, folder in zip(compare.seeds, evaluations, strict=True)
        }
    tables = {name: section["table"] for name, section in found.items()}
    compared = {name: table for name, table in tables.items() if table["paths"]}
    people = {name: section["about"].get("people") for name, section in found.items()}
    made = provenance(params=compare.model_dump(), data=read)
    trained = [*compare.heads, *compare.joint_heads]
    recipe = params.train.recipe()
    page = rendered(
        models=compare.models,
        seeds=compare.seeds,
        benchmarks=found,
        answer=answer(tables, people, len(compare.seeds)),
        overview=overview(tables),
        plots=({"leads": json.loads(leads(compared).to_json())} if compared else {})
        | {
            f"benchmark/{name}/{shown}": plot
            for name, section in found.items()
            for shown, plot in section["plots"].items()
        }
        | (trainings := training_plots(folders, trained)),
        trainings=trainings,
        counted=[
            key for key in COUNTED if any(key in section["about"] for section in found.values())
        ],
        trained_on=trained_on(folders[trained[0]][0]) if trained else {},
        turned=turned_sheet(),
        **reconstructions(runs / "depth" / "samples.npz"),
        fit3d=read_fit(runs / "fit3d" / METRICS),
        depth=read_depth(runs / "depth" / METRICS),
        training={
            model: training_cost(folders[model], recipe.train_dataloader.batch_size)
            for model in trained
        },
        params=shown_params(params)
        | {
            "train": dict(_flat(deciding_settings(recipe))),
            "fit3d": dict(_flat(deciding_settings(params.fit3d.recipe()))),
        },
        sources={name: config.model_dump(mode="json") for name, config in params.sources.items()},
        validated={n: config.model_dump(mode="json") for n, config in params.validation.items()},
        tested={name: config.model_dump(mode="json") for name, config in params.benchmarks.items()},
        provenance=dict(_flat({key: made[key] for key in SHOWN_PROVENANCE})),
    )
    with atomic_dir(out, [benchmarks, runs]) as folder:
        (folder / "index.html").write_text(page, encoding="utf-8", errors="backslashreplace")
        header = ("benchmark", "model", "figure", "mean", "std over seeds", "2.5 %", "97.5 %")
        rows = (
            (name, model, column, *(round(cell[k], 3) for k in ("mean", "spread", "low", "high")))
            for name, section in found.items()
            for model, cells in section["table"]["rows"]
            for column, cell in zip(section["table"]["columns"], cells, strict=True)
        )
        write_rows(folder / "table.csv", header, rows)
        write_provenance(folder, made)


@cache
def turned_sheet() -> tuple[list[str], list[list[str]]]:
    """Return the column titles and the rows of pictures of :func:`turned_people`."""
    titles, pictures = turned_people()
    return titles, [list(map(jpeg, row)) for row in pictures]


def shown_params(params: "Params") -> dict[str, dict[str, Any]]:
    """Return the parameters by section, each value under its dotted key."""
    values = params.model_dump(mode="json", exclude={"workers"})
    values["others"] = {other["name"]: other["path"] for other in values["others"]}
    return {section: dict(_flat(value)) for section, value in values.items()}


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
