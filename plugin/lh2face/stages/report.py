"""Stage ``report``: what every model scored, as one page that opens offline."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from lh2face.artifacts.outputs import atomic_dir
from lh2face.artifacts.provenance import digest, provenance, write_provenance
from lh2face.data.arrays import read_arrays
from lh2face.data.csv_files import PAIR_LIST, flag, read_rows, write_rows
from lh2face.data.ijb_meta import read_meta
from lh2face.data.recordio import RecordReader
from lh2face.report import figures
from lh2face.report.pictures import data_uri, hardest, png, strip
from lh2face.report.table import table
from lh2face.stages.comparison import read_run
from lh2face.stages.figures import read_fit

if TYPE_CHECKING:
    from lh2face.stages.params import Params

TEMPLATES = Path("workflow/report")
PEOPLE, FACES_EACH, PAIRS = 6, 8, 8
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
SHOWN_PROVENANCE = ("commit", "params_digest", "device", "versions")
# How faces were photographed, where images.csv says so: figure, column, what to plot, axis' title.
CONDITIONS: list[tuple[str, str, Callable[[pd.Series], pd.Series], str]] = [
    ("pose", "yaw", pd.Series.abs, "head turned away, degrees"),
    ("blur", "quality", lambda quality: 1 - quality, "degradation of the photograph"),
]


def run(params: "Params", data: Path, runs: Path, out: Path) -> None:
    """Write ``index.html``, ``table.csv`` and ``provenance.json``.

    Args:
        params: The parameters; ``compare`` says which models and seeds are shown.
        data: Folder with ``raw/benchmark`` and ``aligned/benchmark``.
        runs: Folder with ``<model>/<seed>``, their models and evaluations, and ``fit3d``.
        out: Folder to write.

    Raises:
        ValueError: If the evaluation of a model is missing.
    """
    compare = params.compare
    folders = {
        model: [runs / model / str(seed) for seed in compare.seeds] for model in compare.models
    }
    compared = table({model: read_run(runs / model) for model in folders})
    evaluations = {
        model: [read_tables(folder / "evaluation") for folder in seeds]
        for model, seeds in folders.items()
    }
    images = read_images(data / "raw" / "benchmark" / "images.csv")
    picture = face_pictures(data)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    read = {
        f"{model}/{seed}": digest(folder / "evaluation" / "metrics.json")
        for model, seeds in folders.items()
        for seed, folder in zip(compare.seeds, seeds, strict=True)
    }
    made = provenance(params=compare.model_dump(), data=read)
    page = environment.get_template("index.html.j2").render(
        table=compared,
        seeds=compare.seeds,
        images=len(images),
        people=images["identity"].nunique(),
        figures=all_figures(evaluations, images),
        pairs={
            model: hard_pairs(seeds[0]["pairs"], picture) for model, seeds in evaluations.items()
        },
        faces=face_rows(images, picture),
        **reconstructions(runs / "fit3d" / "samples.npz"),
        fit3d=read_fit(runs / "fit3d" / "metrics.json"),
        training={
            model: training_cost(folders[model], params.train.batch_size)
            for model in (*compare.heads, *compare.joint_heads)
        },
        params=shown_params(params),
        provenance=dict(_flat({key: made[key] for key in SHOWN_PROVENANCE})),
        plotly=get_plotlyjs(),
    )
    with atomic_dir(out, [data, runs]) as folder:
        (folder / "index.html").write_text(page, encoding="utf-8", errors="backslashreplace")
        rows = [
            (model, column, *(round(cell[key], 3) for key in ("mean", "spread", "low", "high")))
            for model, cells in compared["rows"]
            for column, cell in zip(compared["columns"], cells, strict=True)
        ]
        header = ("model", "figure", "mean", "std over seeds", "2.5 %", "97.5 %")
        write_rows(folder / "table.csv", header, rows)
        write_provenance(folder, made)


def read_tables(evaluation: Path) -> dict[str, pd.DataFrame]:
    """The tables of stage ``evaluate``, by the file's stem."""
    return {
        name: pd.DataFrame(read_rows(evaluation / f"{name}.csv", columns), columns=[*columns])
        for name, columns in TABLES.items()
    }


def read_images(path: Path) -> pd.DataFrame:
    """The benchmark's list of images, with the conditions that it knows.

    Raises:
        ValueError: If it names no image, or is not such a list.
    """
    conditions = {column: float for _, column, _, _ in CONDITIONS}
    images = read_rows(path, {"name": str, "identity": int}, conditions)
    if not images:
        raise ValueError(f"{path}: names no image")
    return pd.DataFrame(images)


def all_figures(evaluations: figures.Evaluations, images: pd.DataFrame) -> dict[str, Any]:
    """Every figure as plotly's JSON; κ against a condition only where the benchmark knows it."""
    curves = (
        figures.roc, figures.det, figures.cmc, figures.reject, figures.calibration, figures.kappa,
    )  # fmt: skip
    found = {curve.__name__: curve(evaluations) for curve in curves}
    for name, column, change, title in CONDITIONS:
        if column in images:
            values = change(images[column]).rename(title)
            found[name] = figures.kappa_against(evaluations, images["name"], values)
    return {name: json.loads(figure.to_json()) for name, figure in found.items()}


def face_pictures(data: Path) -> Callable[[str], str]:
    """From the name of a benchmark's image to its aligned face, as a data URI."""
    reader = RecordReader(data / "aligned" / "benchmark" / "faces.rec")
    names = read_meta(data / "raw" / "benchmark", "bench").names
    keys = {name: key for key, name in enumerate(names, start=1)}
    return lambda name: data_uri("jpeg", reader[keys[name]][1])


def face_rows(images: pd.DataFrame, picture: Callable[[str], str]) -> list[list[str]]:
    """Faces of a few people of the benchmark, a row a person."""
    return [
        [
            picture(group["name"].iloc[i])
            for i in np.linspace(0, len(group) - 1, min(FACES_EACH, len(group))).astype(int)
        ]
        for _, group in list(images.groupby("identity"))[:PEOPLE]
    ]


def hard_pairs(pairs: pd.DataFrame, picture: Callable[[str], str]) -> dict[str, list[dict]]:
    """The rows of :func:`hardest` with the two faces' ``pictures``."""
    return {
        kind: [
            {**row, "pictures": (picture(row["first"]), picture(row["second"]))}
            for row in rows.to_dict("records")
        ]
        for kind, rows in hardest(pairs, PAIRS).items()
    }


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


def training_cost(folders: list[Path], batch_size: int) -> dict[str, float]:
    """Steps, images a second and seconds of a training, the mean over the seeds."""
    costs = []
    for folder in folders:
        path = folder / "model" / "training.csv"
        record = pd.DataFrame(read_rows(path, {"step": int, "images_per_second": float}))
        if record.empty:
            raise ValueError(f"{path}: has no row")
        seen = record["step"].diff().fillna(record["step"]) * batch_size
        seconds = (seen / record["images_per_second"]).sum()
        costs.append((record["step"].iloc[-1], seen.sum() / seconds, seconds))
    steps, rate, seconds = np.mean(costs, axis=0).tolist()
    return {"steps": steps, "images_per_second": rate, "seconds": seconds}


def shown_params(params: "Params") -> dict[str, dict[str, Any]]:
    """What was run, by section, each value under its dotted key; of ``data`` the source used."""
    values = params.model_dump(mode="json", exclude={"workers"})
    data = values["data"]
    values["data"] = {key: data[key] for key in ("source", "seed", data["source"])}
    return {section: dict(_flat(value)) for section, value in values.items()}


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
