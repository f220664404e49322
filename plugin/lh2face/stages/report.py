"""Stage ``report``: what every model scored, as one page that opens offline."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lh2face.evaluation.bootstrap import interval
from lh2face.stages.comparison import Run, compare, read_run, title
from lh2face.stages.files import atomic_dir, write_rows

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from lh2face.stages.params import Params

TEMPLATES = Path("workflow/report")
# The figures shown, by their path in metrics.json; the verification bins follow.
COLUMNS = [
    "verification.tar.0.0001",
    "verification.tar.0.001",
    "verification.tar.0.01",
    "identification.rank.1",
    "identification.tpir.0.1",
]
PEOPLE, FACES_EACH = 6, 8
# Colour-blind safe (Okabe and Ito); the untrained row comes first, in grey.
COLORS = ["#999999", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442"]


def run(params: "Params", data: Path, runs: Path, out: Path) -> None:
    """Write ``index.html`` and ``table.csv``.

    Args:
        params: The parameters; ``compare`` says which models and seeds are shown.
        data: Folder with ``raw/benchmark``.
        runs: Folder with ``<model>/<seed>/evaluation`` and ``fit3d``.
        out: Folder to write.

    Raises:
        ValueError: If the evaluation of a model is missing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    folders = {
        model: [runs / model / str(seed) / "evaluation" for seed in params.compare.seeds]
        for model in params.compare.models
    }
    compared = table({model: read_run(runs / model) for model in folders})
    benchmark = data / "raw" / "benchmark"
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("index.html.j2").render(
        table=compared,
        seeds=params.compare.seeds,
        figures={
            "Verification (1:1)": plot(roc_figure(folders)),
            "Errors left when the least certain faces are rejected": plot(reject_figure(folders)),
            "Calibration: cosines that κ predicts, and those observed": plot(
                calibration_figure(folders)
            ),
            "Concentration κ of the benchmark's faces": plot(kappa_figure(folders)),
        },
        faces=face_rows(benchmark),
        reconstructions=reconstruction_rows(runs / "fit3d" / "samples.npz"),
        depth=json.loads((runs / "fit3d" / "metrics.json").read_text()),
        heads=params.heads,
        plotly=get_plotlyjs(),
    )
    with atomic_dir(out) as folder:
        (folder / "index.html").write_text(page, encoding="utf-8")
        rows = [
            (model, column, *(round(cell[key], 3) for key in ("mean", "spread", "low", "high")))
            for model, cells in compared["rows"]
            for column, cell in zip(compared["columns"], cells, strict=True)
        ]
        header = ("model", "figure", "mean", "std over seeds", "2.5 %", "97.5 %")
        write_rows(folder / "table.csv", header, rows)


def table(runs: dict[str, Run]) -> dict[str, Any]:
    """Figures of each model in percent: mean and spread over seeds, and the bootstrap's interval.

    Returns:
        ``columns``; ``rows`` of (model, a cell a column); ``leads``, for each column the best
        model, the second, and their difference with its interval.
    """
    figures = next(iter(runs.values())).figures
    paths = [path for path in COLUMNS if path in figures]
    paths += [path for path in figures if path.startswith("bins.")]
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


def roc_figure(folders: dict[str, list[Path]]) -> "Figure":
    """ROC on a logarithmic axis of false accept rates, one line a seed."""
    figure = lines(folders, "roc.csv", x="far", y="tar")
    figure.update_xaxes(title="false accept rate", type="log", exponentformat="power")
    figure.update_yaxes(title="true accept rate", range=[0, 1])
    return figure


def reject_figure(folders: dict[str, list[Path]]) -> "Figure":
    """False non-match rate as the faces of lowest κ are left out, one line a seed."""
    figure = lines(folders, "reject.csv", x="rejected", y="fnmr")
    figure.update_xaxes(title="share of comparisons rejected, by κ", tickformat=".0%")
    figure.update_yaxes(title="false non-match rate", rangemode="tozero")
    return figure


def calibration_figure(folders: dict[str, list[Path]]) -> "Figure":
    """Mean cosine of genuine pairs beside A_n(κ1) A_n(κ2), in tenths of the pairs."""
    figure = lines(folders, "calibration.csv", x="predicted", y="observed")
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": "#888888", "dash": "dot"},
        name="as predicted",
    )
    figure.update_xaxes(title="predicted mean cosine", range=[0, 1])
    figure.update_yaxes(title="observed mean cosine", range=[0, 1])
    return figure


def kappa_figure(folders: dict[str, list[Path]]) -> "Figure":
    """Histogram of κ for each model, of its first seed."""
    import pandas as pd
    import plotly.graph_objects as go

    figure = go.Figure()
    for (model, (folder, *_)), color in zip(folders.items(), COLORS, strict=False):
        kappa = pd.read_csv(folder / "kappa.csv")["kappa"]
        counts, edges = np.histogram(kappa, bins=40)
        centers = (edges[1:] + edges[:-1]) / 2
        figure.add_scatter(
            x=centers, y=counts, name=model, line={"color": color, "shape": "hvh"}, fill="tozeroy"
        )
    figure.update_xaxes(title="κ = |z|")
    figure.update_yaxes(title="faces", type="log")
    return figure


def lines(folders: dict[str, list[Path]], file: str, x: str, y: str) -> "Figure":
    """A figure with one line a model and seed; the legend switches a model's seeds together."""
    import pandas as pd
    import plotly.graph_objects as go

    figure = go.Figure()
    for (model, seeds), color in zip(folders.items(), COLORS, strict=False):
        for i, folder in enumerate(seeds):
            points = pd.read_csv(folder / file)
            figure.add_scatter(
                x=points[x],
                y=points[y],
                name=model,
                legendgroup=model,
                showlegend=i == 0,
                mode="lines",
                line={"color": color},
                opacity=1 if i == 0 else 0.5,
            )
    return figure


def plot(figure: "Figure") -> str:
    """The figure as HTML without plotly's script, on no background so both themes suit it."""
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#888888"},
        margin={"l": 60, "r": 10, "t": 10, "b": 50},
        height=380,
        legend={"orientation": "h", "y": 1.12},
    )
    figure.update_xaxes(gridcolor="rgba(136,136,136,.3)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(136,136,136,.3)", zeroline=False)
    return figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"responsive": True, "displayModeBar": False},
    )


def face_rows(benchmark: Path) -> list[list[str]]:
    """Faces of a few people of the benchmark as data URIs, a row a person."""
    import pandas as pd

    images = pd.read_csv(benchmark / "images.csv")
    return [
        [
            data_uri("jpeg", (benchmark / "loose_crop" / name).read_bytes())
            for name in group["name"].iloc[
                np.linspace(0, len(group) - 1, min(FACES_EACH, len(group))).astype(int)
            ]
        ]
        for _, group in list(images.groupby("identity"))[:PEOPLE]
    ]


def reconstruction_rows(samples: Path) -> list[list[tuple[str, str]]]:
    """The reconstructor's sample faces: a row a face, each picture with its name.

    An array of five axes (N, V, H, W, 3) is a series of V pictures, such as turned views.
    """
    with np.load(samples, allow_pickle=False) as file:
        arrays = dict(file)
    rows = []
    for i in range(min(PEOPLE, len(next(iter(arrays.values()))))):
        row = []
        for name, array in arrays.items():
            series = array[i] if array.ndim == 5 else array[i : i + 1]
            row += [(name, png(picture)) for picture in series]
        rows.append(row)
    return rows


def png(picture: np.ndarray) -> str:
    """RGB or grey uint8 pixels as a data URI."""
    import cv2

    encoded = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return data_uri("png", cv2.imencode(".png", encoded)[1].tobytes())


def data_uri(kind: str, content: bytes) -> str:
    """An image file's bytes as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
