import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lh2face.artifacts.evaluations import evaluations_below, read_both, read_run
from lh2face.evaluation.comparison import Run, compare
from lh2face.evaluation.metric_names import title
from lh2face.tools.compare import show

TAR = "verification.tar.0.001"
RNG = np.random.default_rng(0)


def write_run(folder, tar, errors, seeds=(0, 1), rounds=200, benchmark="people"):
    """Write an evaluation per seed; its draws are ``tar`` plus the errors given per seed."""
    for seed, own in zip(seeds, errors, strict=True):
        out = folder / str(seed) / "evaluation" / benchmark
        out.mkdir(parents=True)
        metrics = {"verification": {"tar": {"0.001": tar}}, "bins": {"low_light": {"accuracy": 1}}}
        (out / "metrics.json").write_text(json.dumps(metrics))
        with (out / "draws.csv").open("w", newline="") as file:
            rows = [(tar + x, 1) for x in own[:rounds]]
            header = ("verification.tar.0.001", "bins.low_light.accuracy")
            csv.writer(file).writerows([header, *rows])
    return folder


def run_of(folder, benchmark="people"):
    return read_run(*evaluations_below(folder)[benchmark])


def test_errors_that_two_runs_share_cancel_in_their_difference(tmp_path):
    errors, other = RNG.normal(scale=0.1, size=(2, 2, 200))
    a = run_of(write_run(tmp_path / "a", 0.5, errors))
    paired = run_of(
        write_run(tmp_path / "b", 0.45, errors + RNG.normal(scale=0.001, size=(2, 200)))
    )
    alone = run_of(write_run(tmp_path / "c", 0.45, other))
    tar, accuracy = compare(a, paired)
    assert tar.figure == "verification.tar.0.001" and (tar.first, tar.second) == (0.5, 0.45)
    assert tar.significant and 0.04 < tar.interval[0] < 0.05 < tar.interval[1] < 0.06
    assert not accuracy.significant and accuracy.interval == (0, 0)
    assert not compare(a, alone)[0].significant


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_interval_over_seeds_is_students_t(seeds):
    # Draws without noise, so that only seeds vary.
    ahead = RNG.normal(size=seeds)
    a, b = (Run({TAR: f}, {TAR: f[:, None] + np.zeros(2000)}) for f in (ahead, np.zeros(seeds)))
    (found,) = compare(a, b)
    expected = stats.ttest_1samp(ahead, 0).confidence_interval(0.95)
    assert found.interval == pytest.approx(tuple(expected), rel=0.02)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_an_interval_covers_zero_as_often_as_it_claims(seeds):
    """The runs differ by an error per seed and by one error of the templates for all seeds."""
    trials, covered = 400, 0
    for _ in range(trials):
        figures = RNG.normal(size=seeds) + RNG.normal(scale=0.5)
        draws = figures[:, None] + RNG.normal(scale=0.5, size=200)
        a = Run({TAR: figures}, {TAR: draws})
        b = Run({TAR: np.zeros(seeds)}, {TAR: np.zeros((seeds, 200))})
        covered += not compare(a, b)[0].significant
    assert covered / trials > 0.92


def test_runs_that_cannot_be_compared_are_named_in_the_error(tmp_path):
    errors = RNG.normal(size=(2, 200))
    a = run_of(write_run(tmp_path / "a", 0.5, errors))
    with pytest.raises(ValueError, match=r"the runs differ in \(seeds, rounds\)"):
        compare(a, run_of(write_run(tmp_path / "b", 0.5, errors[:1], seeds=(0,))))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no draws\.csv below it"):
        evaluations_below(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"no draws; evaluate with evaluate\.bootstrap"):
        run_of(write_run(tmp_path / "none", 0.5, errors, rounds=0))
    write_run(tmp_path / "a", 0.5, errors[:1], seeds=(2,), rounds=100)
    with pytest.raises(ValueError, match=r"differ in bootstrap rounds: \[100, 200\]"):
        run_of(tmp_path / "a")


def edited(folder, name, text):
    path = folder / "0" / "evaluation" / "people" / name
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
        (
            "draws.csv",
            b"\xff\0\n1\n",
            r"draws\.csv:1: not UTF-8",
        ),
        ("draws.csv", HEADER + '"' + "1" * 200_000, r"draws\.csv:2: expected 2 numbers"),
        ("draws.csv", "a,a\n1,2\n", r"draws\.csv:1: expected each column name once"),
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
def test_damaged_evaluations_give_an_error_of_one_line(tmp_path, name, text, message):
    folder = write_run(tmp_path / "a", 0.5, np.zeros((1, 5)), seeds=(0,))
    edited(folder, name, text)
    with pytest.raises(ValueError, match=message) as raised:
        run_of(folder)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300
    assert str(folder) in str(raised.value)


def test_a_draw_that_is_nan_is_left_out(tmp_path):
    folder = write_run(tmp_path / "a", 0.5, np.zeros((1, 5)), seeds=(0,))
    edited(folder, "draws.csv", HEADER + "nan,1\n0.4,1\n")
    (found, _) = compare(run_of(folder), run_of(folder))
    assert found.interval == (0, 0)


def provenance(folder, seed=0, benchmark="people", **data):
    for path in folder.glob(f"*/evaluation/{benchmark}"):
        made = {"data": {"of-1": str(folder), **data}, "params": {"seed": seed}}
        (path / "provenance.json").write_text(json.dumps(made))


def test_a_comparison_on_few_people_warns(tmp_path, capsys):
    errors = RNG.normal(size=(2, 20))
    a, b = (write_run(tmp_path / name, 0.5, errors) for name in "ab")
    for people, said in (
        (None, "not known"),
        (10, "only 10 people"),
        (500, "500 people."),
    ):
        for folder in (a, b):
            provenance(folder, pairs="1")
            for path in folder.glob("*/evaluation/people/provenance.json"):
                path.write_text(json.dumps({**json.loads(path.read_text()), "people": people}))
        show(a, b)
        out = capsys.readouterr().out
        assert out.count("people: ") == 1 and said in out and ("only" in out) == (people == 10)


def test_runs_on_different_benchmarks_are_refused(tmp_path, capsys):
    errors = RNG.normal(size=(2, 20))
    a, b = (write_run(tmp_path / name, 0.5, errors) for name in "ab")
    show(a, b)
    assert capsys.readouterr().out.count("it has no provenance.json") == 2
    provenance(a, meta="1", pairs="2")
    provenance(b, meta="1", pairs="2")
    show(a, b)
    assert "provenance" not in capsys.readouterr().out
    for changed, what in (
        ({"meta": "1", "pairs": "3"}, "pairs"),
        ({"meta": "2", "pairs": "3"}, "meta, pairs"),
        ({"meta": "2"}, "meta"),  # as `lh2face evaluate-ijb` writes it, without pairs of photos
        ({"meta": "1", "pairs": "2", "seed": 1}, "seed of the bootstrap"),
    ):
        provenance(b, **changed)
        with pytest.raises(ValueError, match=f"differ in what they were evaluated on: {what}"):
            show(a, b)


def test_benchmarks_are_matched_by_name(tmp_path, capsys):
    errors = RNG.normal(size=(2, 20))
    a, b = tmp_path / "a", tmp_path / "b"
    for folder, by_name in (
        (a, {"lfw": 0.5, "people": 0.3, "ijbc": 0}),
        (b, {"lfw": 0.4, "people": 0.1}),
    ):
        for benchmark, tar in by_name.items():
            write_run(folder, tar, errors, benchmark=benchmark)
            provenance(folder, benchmark=benchmark, pairs=benchmark)
    both = read_both(a, b)
    assert list(both) == ["lfw", "people"]
    # Both runs have two seeds, and no seed is of another benchmark.
    for name, tars in {"lfw": (0.5, 0.4), "people": (0.3, 0.1)}.items():
        assert [run.figures[TAR].tolist() for run in both[name]] == [[tar] * 2 for tar in tars]
    show(a, b)
    printed = capsys.readouterr().out
    assert "+10.00" in printed and "+20.00" in printed and "ijbc" not in printed
    # A path may also name a seed, or one evaluation.
    assert list(read_both(a / "0", b / "0")) == ["lfw", "people"]
    lfw = a / "0" / "evaluation" / "lfw"
    assert list(read_both(lfw, b / "1")) == ["lfw"]
    with pytest.raises(ValueError, match="they share no benchmark: found ijbc and lfw, people"):
        read_both(a / "0" / "evaluation" / "ijbc", b)
    # An error on one benchmark names that benchmark.
    shutil.rmtree(b / "1" / "evaluation" / "people")
    with pytest.raises(ValueError, match=r"people: the runs differ in \(seeds, rounds\)"):
        show(a, b)


def test_evaluations_by_evaluate_ijb_have_no_name(tmp_path, monkeypatch):
    errors = RNG.normal(size=(1, 20))
    for name, tar, pairs in (("a", 0.5, "1"), ("b", 0.4, "1"), ("c", 0.4, "2")):
        write_run(tmp_path / "runs" / name, tar, errors, seeds=(0,), benchmark="ijbc")
        provenance(tmp_path / "runs" / name, benchmark="ijbc", pairs=pairs)
        (tmp_path / "runs" / name / "0" / "evaluation" / "ijbc").rename(tmp_path / name)
    assert list(read_both(tmp_path / "a", tmp_path / "b")) == [""]
    monkeypatch.chdir(tmp_path / "a")
    assert list(read_both(Path(), tmp_path / "b")) == [""]
    # Compared with an evaluation of the pipeline, it counts as the same benchmark.
    runs = write_run(tmp_path / "model", 0.3, errors, seeds=(0,), benchmark="ijbc")
    provenance(runs, benchmark="ijbc", pairs="1")
    first, second = read_both(tmp_path / "a", runs)["ijbc"]
    assert (first.figures[TAR], second.figures[TAR]) == (0.5, 0.3)
    # Compared with several evaluations, it could be any of them.
    write_run(runs, 0.3, errors, seeds=(0,), benchmark="lfw")
    with pytest.raises(ValueError, match="they share no benchmark: found one without a name and"):
        read_both(tmp_path / "a", runs)
    # Evaluations on two benchmarks below one folder are not taken for two seeds.
    with pytest.raises(ValueError, match="the evaluations below it differ in pairs"):
        several = tmp_path / "several"
        several.mkdir()
        for name in "bc":
            (tmp_path / name).rename(several / name)
        read_both(several, several)


def test_a_partial_evaluation_of_a_killed_process_is_ignored(tmp_path):
    run = write_run(tmp_path / "a", 0.5, RNG.normal(size=(1, 5)), seeds=(0,))
    write_run(tmp_path / "a", 0.5, RNG.normal(size=(1, 5)), (0,), benchmark=".people.0123.partial")
    assert list(evaluations_below(run)) == ["people"]


def test_names_of_lists_may_contain_dots(tmp_path):
    folder = write_run(tmp_path / "a", 0.5, np.zeros((1, 5)), seeds=(0,))
    edited(folder, "metrics.json", '{"bins": {"lfw": {"v2": 1}, "lfw.v2": {"accuracy": 0.75}}}')
    edited(folder, "draws.csv", "bins.lfw.v2.accuracy\n0.5\n")
    assert run_of(folder).figures["bins.lfw.v2.accuracy"] == 0.75


def test_names_of_folders_are_shown_as_text(tmp_path, capsys):
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
        ("bins.lfw.v2.accuracy", "lfw.v2 accuracy"),
        ("conditions.low_light.1e-05", "low light TAR at FAR 1e-5"),
        ("conditions.no.2.0.001", "no.2 TAR at FAR 1e-3"),
    ],
)
def test_titles_of_figures(path, words):
    assert title(path) == words
