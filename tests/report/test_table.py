"""The comparison table: spread over seeds, who leads, and by how much."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the pipeline extra")

from lh2face.report.table import cell, lead, table
from lh2face.stages.comparison import Run

TAR, RANK = "verification.tar.0.001", "identification.rank.1"


def run(tar: list[float], rank: list[float]) -> Run:
    """A run of three seeds whose draws are the figures themselves."""
    figures = {TAR: np.array(tar), RANK: np.array(rank)}
    return Run(figures, {name: np.repeat(f[:, None], 2000, axis=1) for name, f in figures.items()})


# The order of the models is neither that of the means of one figure nor of the other.
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
    # Seeds 20, 10 and 0 ahead: t with two degrees of freedom, 10 ± 4.303 · 10 / √3.
    low, high = 10 - 24.84, 10 + 24.84
    assert (ahead["low"], ahead["high"]) == pytest.approx((low, high), rel=0.05)
    assert not ahead["significant"]


def test_spread_is_that_of_a_sample():
    found = cell(RUNS["worst"], TAR)
    assert found["mean"] == pytest.approx(20)
    assert found["spread"] == pytest.approx(10)  # of 10, 20, 30; of a population it is 8.16
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
