"""A reference file holds the table of a run, and shows whether another run reproduces it."""

import csv
import json
import sys

import numpy as np
import pytest

from lh2face.artifacts.reference import against_reference, write_reference
from lh2face.cli import main

TAR, RANK = "verification.tar.0.001", "identification.rank.1"


def write_runs(folder, tar, digest="d", seeds=3, rounds=400):
    """Write runs of two models; the second is 10 points worse."""
    rng = np.random.default_rng(0)
    for model, less in (("a", 0.0), ("b", 0.1)):
        for seed in range(seeds):
            out = folder / model / str(seed) / "evaluation" / "people"
            out.mkdir(parents=True)
            value = tar - less + 0.01 * (seed - 1)
            metrics = {
                "verification": {"tar": {"0.001": value}},
                "identification": {"rank": {"1": 1}},
            }
            (out / "metrics.json").write_text(json.dumps(metrics))
            with (out / "draws.csv").open("w", newline="") as file:
                drawn = ((value + x, 1) for x in rng.normal(0, 0.01, rounds))
                csv.writer(file).writerows([(TAR, RANK), *drawn])
            made = {"data": {"meta": digest}, "params": {"seed": 0}}
            (out / "provenance.json").write_text(json.dumps(made))
    (folder / "fit3d").mkdir()
    return folder


def test_a_run_agrees_with_its_own_table(tmp_path):
    runs, file = write_runs(tmp_path / "runs", 0.8), tmp_path / "reference.json"
    write_reference(runs, file)
    found = against_reference(runs, file)
    assert list(found) == ["people"] and list(found["people"]) == ["a", "b"]
    for differences, mean in zip(found["people"].values(), (0.8, 0.7), strict=True):
        tar, rank = differences
        assert (tar.figure, rank.figure) == (TAR, RANK)
        assert tar.first == tar.second == pytest.approx(mean)
        assert not tar.significant and not rank.significant
        # Half the interval is Student's t for three seeds of standard deviation 0.01, which is
        # 4.3 · 0.01 / √3, and the error of the templates.
        low, high = tar.interval
        assert 0.023 < (high - low) / 2 < 0.032
    assert file.stat().st_size < 10_000


def test_a_run_that_is_worse_differs_significantly(tmp_path, monkeypatch, capsys):
    file = tmp_path / "reference.json"
    monkeypatch.setattr(
        sys, "argv", ["lh2face", "reference", f"{write_runs(tmp_path / 'runs', 0.8)}", f"{file}"]
    )
    with pytest.raises(SystemExit):
        main()
    worse = write_runs(tmp_path / "worse", 0.7)
    tar, rank = against_reference(worse, file)["people"]["a"]
    assert tar.significant and tar.interval[1] < 0 and not rank.significant
    monkeypatch.setattr(sys, "argv", ["lh2face", "compare", f"{worse}", f"{file}"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().out
    assert "people: a" in said and "people: b" in said and "-10.00" in said
    assert "2 of 4 figures" in said


def test_a_different_benchmark_of_the_same_name_is_refused(tmp_path):
    file = tmp_path / "reference.json"
    write_reference(write_runs(tmp_path / "runs", 0.8), file)
    other = write_runs(tmp_path / "other", 0.8, digest="e")
    with pytest.raises(ValueError, match=r"people: they differ in .* evaluated on: meta"):
        against_reference(other, file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "expected a file of `lh2face reference`"),
        ("[]", "expected a JSON object, found list"),
        (
            '{"kind": "lh2face reference run", "benchmarks": {}}',
            "share no benchmark and model",
        ),
        (
            '{"kind": "lh2face reference run", "benchmarks": {"people": {"digests": {}, "models": '
            '{"a": {"verification.tar.0.001": {"mean": "x", "interval": [0, 1]}}}}}}',
            "people: a: expected a file",
        ),
    ],
)
def test_a_file_that_is_no_reference_is_refused(tmp_path, content, message):
    (file := tmp_path / "reference.json").write_text(content)
    with pytest.raises(ValueError, match=message) as raised:
        against_reference(write_runs(tmp_path / "runs", 0.8), file)
    assert "\n" not in str(raised.value)


def test_a_file_of_the_user_is_not_replaced(tmp_path):
    (file := tmp_path / "mine.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match="expected a file of"):
        write_reference(write_runs(tmp_path / "runs", 0.8), file)
    assert file.read_text() == '{"mine": 1}'
    with pytest.raises(ValueError, match="there is no evaluated model in it"):
        write_reference(tmp_path / "runs" / "fit3d", tmp_path / "other.json")
