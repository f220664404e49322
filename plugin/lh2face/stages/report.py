"""Stage ``report``: what every model scored, as one page that opens offline."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from lh2face.artifacts.evaluations import read_run
from lh2face.artifacts.model import DESCRIPTION
from lh2face.artifacts.provenance import provenance, write_provenance
from lh2face.artifacts.run_metrics import METRICS, read_depth, read_fit, read_record
from lh2face.data.benchmark import Benchmark, read_benchmark
from lh2face.data.images import decode_rgb
from lh2face.files.arrays import read_arrays
from lh2face.files.digests import digest
from lh2face.files.json_object import read_object
from lh2face.files.outputs import atomic_dir
from lh2face.files.tables import PAIR_LIST, flag, read_rows, write_rows
from lh2face.report import plots
from lh2face.report.pictures import hardest, jpeg, png, strip
from lh2face.report.table import overview, table
from lh2face.training.recipe import decisive
from lh2face.training.validation import MEAN
from lh2face.training.validation import RECORD as VALIDATIONS

if TYPE_CHECKING:
    from lh2face.params import Params

TEMPLATES = Path("workflow/report")
ROWS, FACES_EACH, PAIRS = 6, 8, 8
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
# The figures of the trainings: name, table, what draws it.
TRAININGS = [("loss", "training", plots.loss), ("accuracy", "validation", plots.accuracy)]
# Of a benchmark, where it has them.
COUNTED = ("people", "templates", "template pairs")
SHOWN_PROVENANCE = ("commit", "params_digest", "device", "versions")
# How faces were photographed, where images.csv says so: figure, column, what to plot, axis' title.
CONDITIONS: list[tuple[str, str, Callable[[pd.Series], pd.Series], str]] = [
    ("pose", "yaw", pd.Series.abs, "head turned away, degrees"),
    ("blur", "quality", lambda quality: 1 - quality, "degradation of the photograph"),
]


def run(params: "Params", benchmarks: Path, runs: Path, out: Path) -> None:
    """Write ``index.html``, ``table.csv`` and ``provenance.json``.

    What a benchmark does not have is not on the page.

    Args:
        params: The parameters; ``compare`` says which models, seeds and benchmarks are shown.
        benchmarks: Folder with the aligned benchmarks, by name.
        runs: Folder with ``<model>/<seed>``, their models and evaluations, ``fit3d``
            and ``depth``.
        out: Folder to write.

    Raises:
        ValueError: If a benchmark or the evaluation of a model is missing, or an evaluation is of
            other faces.
    """
    compare = params.compare
    folders = {
        model: [runs / model / str(seed) for seed in compare.seeds] for model in compare.models
    }
    found, read = {}, {}
    for name in compare.benchmarks:
        where = {
            model: [folder / "evaluation" / name for folder in seeds]
            for model, seeds in folders.items()
        }
        found[name] = benchmark_parts(read_benchmark(benchmarks / name), where)
        read |= {
            f"{model}/{seed}/{name}": digest(folder / METRICS)
            for model, evaluations in where.items()
            for seed, folder in zip(compare.seeds, evaluations, strict=True)
        }
    made = provenance(params=compare.model_dump(), data=read)
    trained = [*compare.heads, *compare.joint_heads]
    recipe = params.train.recipe()
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("index.html.j2").render(
        models=compare.models,
        seeds=compare.seeds,
        benchmarks=found,
        overview=overview({name: parts["table"] for name, parts in found.items()}),
        figures={
            f"benchmark/{name}/{figure}": plot
            for name, parts in found.items()
            for figure, plot in parts["figures"].items()
        }
        | (trainings := training_figures(folders, trained)),
        trainings=trainings,
        counted=[key for key in COUNTED if any(key in parts["about"] for parts in found.values())],
        trained_on=trained_on(folders[trained[0]][0]) if trained else {},
        **reconstructions(runs / "depth" / "samples.npz"),
        fit3d=read_fit(runs / "fit3d" / METRICS),
        depth=read_depth(runs / "depth" / METRICS),
        training={
            model: training_cost(folders[model], recipe.train_dataloader.batch_size)
            for model in trained
        },
        params=shown_params(params)
        | {
            "train": dict(_flat(decisive(recipe))),
            "fit3d": dict(_flat(decisive(params.fit3d.recipe()))),
        },
        sources={name: config.model_dump(mode="json") for name, config in params.sources.items()},
        validated={n: config.model_dump(mode="json") for n, config in params.validation.items()},
        tested={name: config.model_dump(mode="json") for name, config in params.benchmarks.items()},
        provenance=dict(_flat({key: made[key] for key in SHOWN_PROVENANCE})),
        plotly=get_plotlyjs(),
    )
    with atomic_dir(out, [benchmarks, runs]) as folder:
        (folder / "index.html").write_text(page, encoding="utf-8", errors="backslashreplace")
        header = ("benchmark", "model", "figure", "mean", "std over seeds", "2.5 %", "97.5 %")
        rows = (
            (name, model, column, *(round(cell[k], 3) for k in ("mean", "spread", "low", "high")))
            for name, parts in found.items()
            for model, cells in parts["table"]["rows"]
            for column, cell in zip(parts["table"]["columns"], cells, strict=True)
        )
        write_rows(folder / "table.csv", header, rows)
        write_provenance(folder, made)


def benchmark_parts(asked: Benchmark, where: dict[str, list[Path]]) -> dict[str, Any]:
    """What the page shows of a benchmark.

    Args:
        asked: The benchmark.
        where: The evaluations on it of each model, one a seed.

    Returns:
        ``about``, ``table`` and ``figures``; ``pairs``, the hardest of each model; ``strips`` of
        faces, and what a ``strip`` shows one of.
    """
    evaluations = {
        model: [read_tables(folder) for folder in folders] for model, folders in where.items()
    }
    for model, folders in where.items():
        for folder, tables in zip(folders, evaluations[model], strict=True):
            paired = {*tables["pairs"]["first"], *tables["pairs"]["second"]}
            if list(tables["kappa"]["name"]) != asked.names or paired - asked.rows.keys():
                raise ValueError(f"{folder}: evaluated on other faces than those of {asked.folder}")
    picture = face_pictures(asked)
    strip, strips = face_rows(asked)
    return {
        "about": about(asked),
        "table": table({model: read_run(*folders) for model, folders in where.items()}),
        "figures": all_figures(evaluations, asked),
        "pairs": {
            model: hard_pairs(seeds[0]["pairs"], lambda name: picture(asked.rows[name]))
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


def trained_on(folder: Path) -> dict[str, Any]:
    """Of a model's training faces the number of ``people``, the ``origin``, and what was counted
    in each of its ``sources``, where it says so."""
    description = read_object(folder / "model" / DESCRIPTION, "a trained model's folder")
    made = description.get("provenance", {}).get("params", {})
    found = {
        "people": (description.get("head") or {}).get("num_classes"), "origin": made.get("source"),
        "sources": made.get("sources"),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


def reconstructions(samples: Path) -> dict[str, Any]:
    """The reconstructor's sample faces: ``turns`` in degrees, and ``reconstructions``, for each
    face its pictures by name; that of ``turned`` holds all turns side by side."""
    arrays = read_arrays(samples, "input", "turned", "turns")
    turns = arrays.pop("turns").tolist()
    draw = {name: strip if name == "turned" else png for name in arrays}
    rows = [
        {name: draw[name](array[i]) for name, array in arrays.items()}
        for i in range(len(arrays["input"]))
    ]
    return {"turns": turns, "reconstructions": rows}


def training_figures(folders: dict[str, list[Path]], trained: list[str]) -> dict[str, Any]:
    """Plotly's JSON of what the trainings recorded: their loss and, where they have one, their
    validation.

    Args:
        folders: Of each model, one a seed, in the order of the other figures' colours.
        trained: Which of the models were trained here.
    """
    records = {
        model: [training_record(folder / "model") for folder in of_model if model in trained]
        for model, of_model in folders.items()
    }
    seeds = [seed for of_model in records.values() for seed in of_model]
    found = {
        f"training/{name}": draw(records)
        for name, table, draw in TRAININGS
        if any(not seed[table].empty for seed in seeds)
    }
    return {name: json.loads(figure.to_json()) for name, figure in found.items()}


def training_record(model: Path) -> dict[str, pd.DataFrame]:
    """The tables of a training: ``training`` and ``validation``, of which that may be empty."""
    rows = read_rows(model / "training.csv", {"step": int}, {"loss": float})
    found = []
    if (path := model / VALIDATIONS).exists():
        found = read_rows(path, {"step": int, "name": str}, {"accuracy": float})
    means = [row for row in found if row["name"] == MEAN]
    return {
        "training": pd.DataFrame(rows, columns=["step", "loss"]).dropna(),
        "validation": pd.DataFrame(means, columns=["step", "accuracy"]).dropna(),
    }


def training_cost(folders: list[Path], batch_size: int) -> dict[str, float]:
    """Steps, images a second and seconds of a training, the mean over the seeds."""
    records = [folder / "model" / "training.csv" for folder in folders]
    costs = [read_record(record, batch_size)[0] for record in records]
    return {name: np.mean([cost[name] for cost in costs]).item() for name in costs[0]}


def shown_params(params: "Params") -> dict[str, dict[str, Any]]:
    """What was run, by section, each value under its dotted key."""
    values = params.model_dump(mode="json", exclude={"workers"})
    values["others"] = {other["name"]: other["path"] for other in values["others"]}
    return {section: dict(_flat(value)) for section, value in values.items()}


def _spread(rows: list[int], most: int) -> list[int]:
    """At most so many, from the first to the last at equal distances."""
    return [rows[i] for i in np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
