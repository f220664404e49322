import csv
import json

import numpy as np
import pytest
from scipy import stats

from lh2face.stages.comparison import Run, compare, read_run
from lh2face.stages.figures import title
from lh2face.tools.compare import show

TAR = "verification.tar.0.001"
RNG = np.random.default_rng(0)


def write_run(folder, tar, luck, seeds=(0, 1), rounds=200):
    """Evaluations whose draws are the figure and a luck that runs may share."""
    for seed, own in zip(seeds, luck, strict=True):
        out = folder / str(seed) / "evaluation"
        out.mkdir(parents=True)
        metrics = {"verification": {"tar": {"0.001": tar}}, "bins": {"low_light": {"accuracy": 1}}}
        (out / "metrics.json").write_text(json.dumps(metrics))
        with (out / "draws.csv").open("w", newline="") as file:
            rows = [(tar + x, 1) for x in own[:rounds]]
            header = ("verification.tar.0.001", "bins.low_light.accuracy")
            csv.writer(file).writerows([header, *rows])
    return folder


def test_shared_luck_is_left_out_of_the_difference(tmp_path):
    luck, other = RNG.normal(scale=0.1, size=(2, 2, 200))
    a = read_run(write_run(tmp_path / "a", 0.5, luck))
    paired = read_run(
        write_run(tmp_path / "b", 0.45, luck + RNG.normal(scale=0.001, size=(2, 200)))
    )
    alone = read_run(write_run(tmp_path / "c", 0.45, other))
    tar, accuracy = compare(a, paired)
    assert tar.figure == "verification.tar.0.001" and (tar.first, tar.second) == (0.5, 0.45)
    assert tar.significant and 0.04 < tar.interval[0] < 0.05 < tar.interval[1] < 0.06
    assert not accuracy.significant and accuracy.interval == (0, 0)
    assert not compare(a, alone)[0].significant


@pytest.mark.parametrize("seeds", [2, 5])
def test_luck_of_the_seeds_is_that_of_students_t(seeds):
    # Without noise in the templates.
    ahead = RNG.normal(size=seeds)
    a, b = (Run({TAR: f}, {TAR: f[:, None] + np.zeros(2000)}) for f in (ahead, np.zeros(seeds)))
    (found,) = compare(a, b)
    expected = stats.ttest_1samp(ahead, 0).confidence_interval(0.95)
    assert found.interval == pytest.approx(tuple(expected), rel=0.02)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_an_interval_covers_no_difference_as_often_as_it_says(seeds):
    """Of runs that differ by the luck of seeds and of templates, which all seeds share."""
    trials, covered = 400, 0
    for _ in range(trials):
        figures = RNG.normal(size=seeds) + RNG.normal(scale=0.5)
        draws = figures[:, None] + RNG.normal(scale=0.5, size=200)
        a = Run({TAR: figures}, {TAR: draws})
        b = Run({TAR: np.zeros(seeds)}, {TAR: np.zeros((seeds, 200))})
        covered += not compare(a, b)[0].significant
    assert covered / trials > 0.92


def test_what_cannot_be_compared_is_named(tmp_path):
    luck = RNG.normal(size=(2, 200))
    a = read_run(write_run(tmp_path / "a", 0.5, luck))
    with pytest.raises(ValueError, match=r"the runs differ in \(seeds, rounds\)"):
        compare(a, read_run(write_run(tmp_path / "b", 0.5, luck[:1], seeds=(0,))))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no draws\.csv below it"):
        read_run(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"no draws; evaluate with evaluate\.bootstrap"):
        read_run(write_run(tmp_path / "none", 0.5, luck, rounds=0))
    write_run(tmp_path / "a", 0.5, luck[:1], seeds=(2,), rounds=100)
    with pytest.raises(ValueError, match=r"differ in rounds: \[100, 200\]"):
        read_run(tmp_path / "a")


def edited(folder, name, text):
    path = folder / "0" / "evaluation" / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


HEADER = "verification.tar.0.001,bins.low_light.accuracy\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("draws.csv", "", r"draws\.csv: no draws"),
        ("draws.csv", HEADER, r"draws\.csv: no draws"),
        ("draws.csv", HEADER + "0.5,1\n0.5\n", r"draws\.csv:3: expected 2 numbers"),
        ("draws.csv", HEADER + "0.5,high\n", r"draws\.csv:2: expected 2 numbers"),
        ("draws.csv", HEADER + "0.5,inf\n", r"draws\.csv:2: expected 2 numbers"),
        ("draws.csv", HEADER + "nan,1\n", r"'verification\.tar\.0\.001' has no number"),
        ("draws.csv", b"\xff\0\n1\n", r"metrics\.json: expected a number as '.*', which draws"),
        ("draws.csv", HEADER + '"' + "1" * 200_000, r"draws\.csv:2: expected 2 numbers"),
        ("draws.csv", "a,a\n1,2\n", r"draws\.csv:1: expected each figure once"),
        ("metrics.json", "{", r"metrics\.json: not valid JSON"),
        ("metrics.json", "[]", r"metrics\.json: expected a JSON object, found list"),
        ("metrics.json", '{"verification": {"tar": {"0.001": null}}}', "found None"),
        ("metrics.json", '{"verification": {"tar": {"0.001": NaN}}}', "found nan"),
        ("metrics.json", '{"verification": {"tar": {"0.001": true}}}', "found True"),
        ("metrics.json", '{"verification": {"tar": {"0.001": "1"}}}', "found '1'"),
        ("provenance.json", "{}", r"provenance\.json: expected the data and params"),
        ("provenance.json", "3", r"provenance\.json: expected a JSON object, found int"),
        ("provenance.json", '{"data": [], "params": {}}', r"provenance\.json: expected the data"),
    ],
)
def test_damaged_evaluations_are_one_line(tmp_path, name, text, message):
    folder = write_run(tmp_path / "a", 0.5, np.zeros((1, 5)), seeds=(0,))
    edited(folder, name, text)
    with pytest.raises(ValueError, match=message) as raised:
        read_run(folder)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
    assert str(folder) in str(raised.value)


def test_a_round_without_a_kind_is_left_out(tmp_path):
    folder = write_run(tmp_path / "a", 0.5, np.zeros((1, 5)), seeds=(0,))
    edited(folder, "draws.csv", HEADER + "nan,1\n0.4,1\n")
    (found, _) = compare(read_run(folder), read_run(folder))
    assert found.interval == (0, 0)


def provenance(folder, seed=0, **data):
    for path in folder.glob("*/evaluation"):
        made = {"data": {"of-1": str(folder), **data}, "params": {"seed": seed}}
        (path / "provenance.json").write_text(json.dumps(made))


def test_runs_on_different_benchmarks_are_refused(tmp_path, capsys):
    luck = RNG.normal(size=(2, 20))
    a, b = (write_run(tmp_path / name, 0.5, luck) for name in "ab")
    show(a, b)
    assert capsys.readouterr().out.count("it has no provenance.json") == 2
    provenance(a, meta="1", pairs="2")
    provenance(b, meta="1", pairs="2")
    show(a, b)
    assert "provenance" not in capsys.readouterr().out
    for changed, what in (
        ({"meta": "1", "pairs": "3"}, "pairs"),
        ({"meta": "2"}, "meta, pairs"),
        ({"meta": "1", "pairs": "2", "seed": 1}, "seed of the bootstrap"),
    ):
        provenance(b, **changed)
        with pytest.raises(ValueError, match=f"differ in what they were evaluated on: {what}"):
            show(a, b)


def test_names_of_folders_are_text(tmp_path, capsys):
    folder = write_run(tmp_path / "[bold]", 0.5, RNG.normal(size=(1, 20)), seeds=(0,))
    show(folder, folder)
    assert "[bold]" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("verification.tar.1e-06", "TAR at FAR 1e-6"),
        ("verification.tar.0.0001", "TAR at FAR 1e-4"),
        ("verification.tar.0.1", "TAR at FAR 0.1"),
        ("identification.rank.10", "rank-10"),
        ("identification.tpir.0.01", "TPIR at FPIR 0.01"),
        ("bins.low_quality.accuracy", "low quality accuracy"),
    ],
)
def test_titles(path, words):
    assert title(path) == words
