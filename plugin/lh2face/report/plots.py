"""Plots of the report, with one line per model and seed; the legend toggles all seeds of a model.

``Evaluations`` are the tables of stage ``evaluate``: by model, a list with one dict per seed, by
the name of the file without suffix.
"""

import html
import textwrap
from collections.abc import Iterator, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

Evaluations = dict[str, list[dict[str, pd.DataFrame]]]

# Okabe and Ito's colours for colour-blind readers, readable on white and black. The first model,
# the untrained one, is grey. If there are more models than colours, dashes distinguish them.
COLORS = ["#8C8C8C", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2"]
DASHES = ["solid", "dash", "dot", "dashdot"]
CONDITION_BINS = 8
# The labels in the figure of leads: height of a line in px, and most letters in a line.
LINE, LABEL = 18, 15


def leads(tables: dict[str, dict[str, Any]]) -> Figure:
    """Plot each figure of each model, and the interval of the best model's lead over the second.

    The bar is the interval of the lead, added to the score of the second best. It reaches the point
    of the second best if the interval contains zero.

    Args:
        tables: The table of each benchmark that has figures, from
            :func:`~lh2face.report.table.table`.
    """
    labels = [
        textwrap.fill(column, LABEL) + (f"\n{name}" if len(tables) > 1 else "")
        for name, table in tables.items()
        for column in table["columns"]
    ]
    found = [ahead for table in tables.values() for ahead in table["leads"]]
    models: dict[str, list[dict[str, float]]] = {}
    for table in tables.values():
        for model, cells in table["rows"]:
            models.setdefault(model, []).extend(cells)
    means = {model: [cell["mean"] for cell in cells] for model, cells in models.items()}
    figure = Figure(layout=LAYOUT)
    for (model, values), style in zip(means.items(), _styles(), strict=False):
        bars: dict[str, list[float | None]] = {
            "low": [None] * len(labels),
            "high": [None] * len(labels),
        }
        for i, ahead in enumerate(found):
            if ahead["best"] == model:
                bars["low"][i] = ahead["difference"] - ahead["low"]
                bars["high"][i] = ahead["high"] - ahead["difference"]
        figure.add_scatter(
            x=values,
            y=list(range(len(labels))),
            name=html.escape(model, quote=False),
            legendgroup=model,
            mode="markers",
            marker={"color": style["color"], "size": 10},
            error_x={
                "type": "data", "array": bars["high"], "arrayminus": bars["low"], "width": 5,
                "thickness": 2.5, "color": style["color"],
            },
            hovertemplate="<b>%{fullData.name}</b> %{x:.1f}<extra></extra>",
        )  # fmt: skip
    height = max(label.count("\n") + 1 for label in labels)
    lines = [html.escape(label, quote=False).replace("\n", "<br>") for label in labels]
    figure.update_yaxes(
        tickvals=list(range(len(lines))), ticktext=lines, range=[len(lines) - 0.5, -0.5],
        automargin=True,
    )  # fmt: skip
    figure.update_xaxes(title="percent, more is better")
    figure.update_layout(height=LINE * height * len(lines) + 110, margin={"l": 8})
    return figure


def roc(evaluations: Evaluations) -> Figure:
    """Plot the true accept rate against the false accept rate, on a logarithmic FAR axis."""
    figure = curves(evaluations, "roc", "far", "tar", hover="FAR %{x:.1e}<br>TAR %{y:.1%}")
    figure.update_xaxes(title="false accept rate", type="log", dtick=1, exponentformat="power")
    figure.update_yaxes(title="true accept rate", range=[0, 1.02], tickformat=".0%")
    return figure


def det(evaluations: Evaluations) -> Figure:
    """Plot the detection error trade-off: both error rates on logarithmic axes."""
    missed = {
        model: [{"det": seed["roc"].assign(fnmr=1 - seed["roc"]["tar"])} for seed in seeds]
        for model, seeds in evaluations.items()
    }
    figure = curves(missed, "det", "far", "fnmr", hover="FAR %{x:.1e}<br>FNMR %{y:.1%}")
    figure.update_xaxes(title="false accept rate", type="log", dtick=1, exponentformat="power")
    figure.update_yaxes(title="false non-match rate", type="log", tickformat="~%", dtick="D2")
    return figure


def cmc(evaluations: Evaluations) -> Figure:
    """Plot the cumulative match characteristic: how often the mate is among the first ranks."""
    figure = curves(evaluations, "cmc", "rank", "rate", hover="rank %{x}<br>%{y:.1%}")
    figure.update_traces(mode="lines+markers")
    ranks = [1, *range(5, 21, 5)]
    figure.update_xaxes(title="rank", tickvals=ranks, range=[0.5, ranks[-1] + 0.5])
    figure.update_yaxes(title="identification rate", tickformat=".0%")
    return figure


def reject(evaluations: Evaluations) -> Figure:
    """Plot the FNMR at a constant FAR as the pairs of lowest κ are rejected."""
    hover = "%{x:.0%} rejected<br>FNMR %{y:.1%}"
    figure = curves(evaluations, "reject", "rejected", "fnmr_at_far", hover)
    figure.update_xaxes(title="pairs rejected, lowest κ first", tickformat=".0%")
    figure.update_yaxes(title="false non-match rate", rangemode="tozero", tickformat=".0%")
    return figure


def calibration(evaluations: Evaluations) -> Figure:
    """Plot observed mean cosines against A_n(s κ1) A_n(s κ2), per tenth of the genuine pairs."""
    hover = "predicted %{x:.2f}<br>observed %{y:.2f}"
    figure = curves(evaluations, "calibration", "predicted", "observed", hover)
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": "#8C8C8C", "dash": "dot"},
        showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(title="predicted mean cosine", range=[0, 1])
    figure.update_yaxes(title="observed mean cosine", range=[0, 1])
    return figure


def kappa(evaluations: Evaluations) -> Figure:
    """Plot the distribution of κ over the benchmark's faces, in units of the model's median κ."""
    edges = np.linspace(0, max(ratio.max() for _, _, ratio in _ratios(evaluations)), 41)
    x = (edges[1:] + edges[:-1]) / 2
    shares: Evaluations = {model: [] for model in evaluations}
    for model, median, ratio in _ratios(evaluations):
        share = np.histogram(ratio, edges)[0] / len(ratio)
        points = pd.DataFrame({"x": x, "share": share, "kappa": x * median})
        shares[model].append({"kappa": points})
    hover = "κ %{customdata[0]:.3g}<br>%{y:.1%} of the faces"
    figure = curves(shares, "kappa", "x", "share", hover, custom=["kappa"])
    figure.update_xaxes(title="κ / median κ of the model")
    figure.update_yaxes(title="share of faces", rangemode="tozero", tickformat=".0%")
    return figure


def kappa_against(evaluations: Evaluations, faces: pd.Series, values: pd.Series) -> Figure:
    """Plot the median κ of faces, in units of the model's median κ, against a condition.

    Args:
        evaluations: The evaluations.
        faces: Names of the benchmark's faces.
        values: Condition of each face, such as its pose, cut into intervals of equal width. The
            name of the series is the title of the axis.
    """
    cut = pd.Series(pd.cut(values, CONDITION_BINS).to_numpy(), faces)
    medians: Evaluations = {model: [] for model in evaluations}
    for model, median, ratio in _ratios(evaluations):
        groups = ratio.groupby(cut.reindex(ratio.index), observed=True)
        points = groups.agg(
            ratio="median", low=lambda v: v.quantile(0.25), high=lambda v: v.quantile(0.75),
            faces="size",
        )  # fmt: skip
        points["x"] = [interval.mid for interval in points.index]
        points[["median", "low", "high"]] = points[["ratio", "low", "high"]] * median
        medians[model].append({"condition": points})
    hover = (
        "median κ %{customdata[0]:.3g}<br>middle half %{customdata[1]:.3g} … "
        "%{customdata[2]:.3g}<br>%{customdata[3]} faces"
    )
    custom = ["median", "low", "high", "faces"]
    figure = curves(medians, "condition", "x", "ratio", hover, custom)
    figure.update_traces(mode="lines+markers")
    figure.update_xaxes(title=str(values.name))
    figure.update_yaxes(title="κ / median κ of the model")
    return figure


def loss(records: Evaluations) -> Figure:
    """Plot the loss over the steps, from the records of the trainings."""
    figure = curves(records, "training", "step", "loss", hover="step %{x}<br>loss %{y:.3g}")
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="loss", rangemode="tozero")
    return figure


def accuracy(records: Evaluations) -> Figure:
    """Plot the validation accuracy over the steps, as the mean over the lists of pairs."""
    hover = "step %{x}<br>accuracy %{y:.2%}"
    figure = curves(records, "validation", "step", "accuracy", hover)
    figure.update_traces(mode="lines+markers")
    figure.update_xaxes(title="step", rangemode="tozero")
    figure.update_yaxes(title="accuracy", tickformat=".0%")
    return figure


def curves(
    evaluations: Evaluations, file: str, x: str, y: str, hover: str, custom: Sequence[str] = ()
) -> Figure:
    """Plot one line per model and seed, on a transparent background for light and dark pages.

    Args:
        evaluations: The tables.
        file: Name of the table to plot.
        x: Column of the x values.
        y: Column of the y values.
        hover: Text at a point, in Plotly's template language.
        custom: Further columns for ``hover``.
    """
    figure = Figure(layout=LAYOUT)
    for (model, seeds), style in zip(evaluations.items(), _styles(), strict=False):
        for i, tables in enumerate(seeds):
            points = tables[file]
            figure.add_scatter(
                x=points[x].to_numpy(),
                y=points[y].to_numpy(),
                customdata=points[list(custom)].to_numpy() if custom else None,
                name=html.escape(model, quote=False),  # plotly reads tags in names
                legendgroup=model,
                showlegend=i == 0,
                mode="lines",
                line=style,
                opacity=1 if i == 0 else 0.5,
                hovertemplate=f"<b>%{{fullData.name}}</b><br>{hover}<extra></extra>",
            )
    return figure


LAYOUT: dict[str, Any] = {
    "template": "none",
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": "system-ui, sans-serif", "size": 12.5},
    "margin": {"l": 64, "r": 8, "t": 8, "b": 48},
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    "xaxis": {"zeroline": False, "title": {"font": {"size": 13}}},
    "yaxis": {"zeroline": False, "title": {"font": {"size": 13}}},
}


def _styles() -> Iterator[dict[str, str]]:
    for dash, color in cycle(product(DASHES, COLORS)):
        yield {"color": color, "dash": dash}


def _ratios(evaluations: Evaluations) -> Iterator[tuple[str, float, pd.Series]]:
    """Yield for each model and seed the median κ, and each face's κ divided by it.

    Heads have different scales of κ, so only the ratios of different models are comparable.
    """
    for model, seeds in evaluations.items():
        for tables in seeds:
            values = tables["kappa"].set_index("name")["kappa"]
            yield model, values.median(), values / values.median()
