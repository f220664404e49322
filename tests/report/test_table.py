"""The comparison table shows spread over seeds, who leads, and by how much."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the pipeline extra")

from lh2face.evaluation.comparison import Run
from lh2face.report import plots
from lh2face.report.table import cell, lead, overview, table

TAR, RANK = "verification.tar.0.001", "identification.rank.1"


def run(tar: list[float], rank: list[float]) -> Run:
    """Return a run of three seeds whose draws are the figures themselves."""
    figures = {TAR: np.array(tar), RANK: np.array(rank)}
    return Run(figures, {name: np.repeat(f[:, None], 2000, axis=1) for name, f in figures.items()})


# The models are in another order than the means of either figure.
RUNS = {
    "middle": run([0.5, 0.5, 0.5], [0.7, 0.8, 0.9]),
    "worst": run([0.1, 0.2, 0.3], [0.9, 0.9, 0.9]),
    "best": run([0.8, 0.8, 0.8], [0.1, 0.1, 0.1]),
}


def test_the_best_leads_over_the_second():
    ahead = lead(RUNS, TAR)
    assert (ahead["best"], ahead["second"]) == ("best", "middle")
    assert ahead["difference"] == pytest.approx(30)
    assert ahead["low"] == pytest.approx(30) and ahead["significant"]
    ahead = lead(RUNS, RANK)
    assert (ahead["best"], ahead["second"]) == ("worst", "middle")
    assert ahead["difference"] == pytest.approx(10)
    # The seeds are 20, 10 and 0 ahead; t has two degrees of freedom: 10 ± 4.303 · 10 / √3.
    low, high = 10 - 24.84, 10 + 24.84
    assert (ahead["low"], ahead["high"]) == pytest.approx((low, high), rel=0.05)
    assert not ahead["significant"]


def test_the_spread_is_the_standard_deviation_of_a_sample():
    found = cell(RUNS["worst"], TAR)
    assert found["mean"] == pytest.approx(20)
    assert found["spread"] == pytest.approx(
        10
    )  # of 10, 20 and 30; as a population they would have 8.16
    single = Run({TAR: np.array([0.5])}, {TAR: np.full((1, 5), 0.5)})
    assert np.isnan(cell(single, TAR)["spread"])


def test_the_best_of_each_column_is_marked():
    made = table(RUNS)
    assert made["columns"] == ["TAR at FAR 1e-3", "rank-1"]
    marked = {
        column: [model for model, cells in made["rows"] if cells[i]["best"]]
        for i, column in enumerate(made["columns"])
    }
    assert marked == {"TAR at FAR 1e-3": ["best"], "rank-1": ["worst"]}


def test_the_table_states_the_number_of_people():
    assert table(RUNS)["people"] == "It is not known on how many people this was measured."
    few = {name: replace(run, people=10) for name, run in RUNS.items()}
    assert "only 10 people" in table(few)["people"] and "31 points" in table(few)["people"]


def test_a_single_model_leads_nobody():
    made = table({"only": RUNS["best"]})
    assert made["leads"] == made["blocks"][0]["leads"] == []
    assert not any(cell["best"] for _, cells in made["rows"] for cell in cells)
    assert overview({"people": made})["leads"] == []


def test_the_bar_of_a_lead_that_is_not_significant_reaches_the_second():
    figure = plots.leads({"people": table(RUNS)})
    assert [trace.name for trace in figure.data] == [*RUNS]
    by_model = {trace.name: trace for trace in figure.data}
    assert by_model["best"].x == pytest.approx([80, 10])
    assert list(figure.layout.yaxis.ticktext) == ["TAR at FAR 1e-3", "rank-1"]
    ends = {}
    for name, trace in by_model.items():
        for row, (low, high) in enumerate(
            zip(trace.error_x.arrayminus, trace.error_x.array, strict=True)
        ):
            if low is not None:
                ends[name, row] = trace.x[row] - low, trace.x[row] + high
    # One lead is 30 over 50 without spread, the other 10 ± 25 over 80.
    assert ends.keys() == {("best", 0), ("worst", 1)}
    assert ends["best", 0] == pytest.approx((80, 80))
    assert ends["worst", 1] == pytest.approx((80 - 14.84, 80 + 34.84), rel=0.05)
    two = plots.leads({name: table(RUNS) for name in ("<b>", "other")})
    assert two.layout.yaxis.ticktext[1] == "rank-1<br>&lt;b&gt;" and len(two.data[0].x) == 4


def of(**figures: float) -> Run:
    """Return a run of one seed whose draws do not vary."""
    named = {path: np.array([value]) for path, value in figures.items()}
    return Run(
        named, {path: np.repeat(value[:, None], 10, axis=1) for path, value in named.items()}
    )


IJBC = {f"verification.tar.{far}": 0.5 for far in ("1e-06", "1e-05", "0.0001", "0.001", "0.1")}
IJBC |= {"identification.rank.1": 0.9, "identification.rank.5": 0.95, "reject.area": 0.1}
PEOPLE = {"verification.tar.0.01": 0.6, "bins.low_light.accuracy": 0.7, "bins.b.v2.accuracy": 0.8}
PEOPLE |= {"conditions.frontal.0.01": 0.9, "conditions.frontal.0.1": 0.95}


def test_the_columns_are_the_figures_of_the_benchmark():
    made = table({"a": of(**IJBC), "b": of(**IJBC)})
    assert made["columns"] == ["TAR at FAR 1e-6", "TAR at FAR 1e-5", "TAR at FAR 1e-4", "rank-1"]
    assert [block["groups"] for block in made["blocks"]] == [[("templates", 4)]]
    made = table({"a": of(**PEOPLE), "b": of(**PEOPLE, **{"conditions.aged.0.01": 0.5})})
    assert made["paths"] == [
        "verification.tar.0.01", "bins.low_light.accuracy", "bins.b.v2.accuracy",
        "conditions.frontal.0.01",
    ]  # fmt: skip
    templates, pairs, faces = made["blocks"]
    assert (templates["heads"], pairs["heads"]) == (["TAR at FAR 1e-2"], ["low light", "b.v2"])
    assert faces["heads"] == ["frontal"]
    assert [cell["mean"] for cell in pairs["rows"][0][1]] == pytest.approx([70, 80])
    pairs_only = table(
        {"a": of(**{"bins.lfw.accuracy": 0.9}), "b": of(**{"bins.lfw.accuracy": 0.8})}
    )
    assert pairs_only["columns"] == ["lfw accuracy"] and pairs_only["leads"][0]["best"] == "a"
    nothing = table({"a": of(**{"reject.area": 0.1}), "b": of(**{"reject.area": 0.2})})
    assert nothing["blocks"] == nothing["columns"] == []


def test_the_overview_has_a_column_per_benchmark():
    lfw = {"bins.lfw.accuracy": 0.9}
    tables = {
        name: table({"a": of(**figures), "b": of(**figures)})
        for name, figures in {"ijbc": IJBC, "lfw": lfw, "none": {}, "people": PEOPLE}.items()
    }
    made = overview(tables)
    assert made["groups"] == [("ijbc", 1), ("lfw", 1), ("people", 1)]
    assert made["heads"] == ["TAR at FAR 1e-4", "lfw accuracy", "TAR at FAR 1e-2"]
    assert [cell["mean"] for cell in made["rows"][1][1]] == pytest.approx([50, 90, 60])
