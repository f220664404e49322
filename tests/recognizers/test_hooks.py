"""The record of a run on disk."""

import csv
from pathlib import Path

from lh2face.recognizers.hooks import append_row, drop_rows


def write(path: Path, steps: range) -> None:
    for step in steps:
        append_row(path, {"step": step, "loss": step / 3})


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_after_a_step_and_a_torn_one_are_dropped(tmp_path):
    path = tmp_path / "training.csv"
    write(path, range(1, 6))
    with path.open("a") as file:
        file.write("6")
    drop_rows(path, 3)
    assert [row["step"] for row in read(path)] == ["1", "2", "3"]
    write(path, range(4, 6))
    assert [row["step"] for row in read(path)] == ["1", "2", "3", "4", "5"]
    assert read(path)[0]["loss"] == "0.333333"


def test_a_run_that_begins_anew_begins_its_record_anew(tmp_path):
    path = tmp_path / "training.csv"
    drop_rows(path, 0)
    write(path, range(1, 3))
    drop_rows(path, 0)
    assert not path.exists()
