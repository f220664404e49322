"""Tables are read back as they were written and hold no formulas; errors name the line."""

import csv

import pytest

from lh2face.files.tables import PAIR_LIST, TableError, flag, read_rows, write_rows

NAMES = ["=1+1", "'@x", "-b", "+49", "@SUM(A1)", "\tx", "007", "", "a,b", 'c"d', "e\nf", "漢", "'"]


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "a.csv"
    write_rows(path, ("=name", "value", "count"), ((name, -1.5, -2) for name in NAMES))
    found = read_rows(path, {"=name": str, "value": float, "count": int})
    assert found == [{"=name": name, "value": -1.5, "count": -2} for name in NAMES]


def test_text_cells_are_no_formulas_and_numbers_stay_numbers(tmp_path):
    path = tmp_path / "a.csv"
    write_rows(path, ("=name", "value"), ((name, "-1.5") for name in NAMES))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    numbers = {"+49", "-1.5"}
    assert not [
        cell for row in rows for cell in row if cell[:1] in {*"=+-@\t\r"} and cell not in numbers
    ]
    assert {row[1] for row in rows[1:]} == {"-1.5"}


def test_bytes_that_are_not_utf8_are_escaped(tmp_path):
    path = tmp_path / "a.csv"
    write_rows(path, ("name",), [("\udcff.jpg",)])
    assert path.read_bytes() == b"name\n\\udcff.jpg\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "1: expected each column once in the header: first, second, same"),
        (b"first,second\n", "1: expected each column once in the header: same"),
        (b"first,second,same,same\n", "1: expected each column once in the header: same"),
        (b"first,second,same\na,b,1\na,b\n", "3: expected 3 cells, found 2"),
        (b"first,second,same\na,b,1,2\n", "2: expected 3 cells, found 4"),
        (b"first,second,same\na,b,yes\n", "2: expected 0 or 1, found 'yes'"),
        (b"first,second,same\n\xff,b,1\n", "1: not UTF-8"),
        (b"first,second,same\n" + b"a" * 200_000 + b",b,1\n", "2: field larger than"),
    ],
)
def test_errors_name_the_line(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(TableError) as caught:
        read_rows(tmp_path / "a.csv", PAIR_LIST)
    assert str(caught.value).startswith(f"{tmp_path / 'a.csv'}:{message}")


def test_optional_columns_may_be_missing(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfname,yaw,other\r\n\r\na,-3,x\r\n")
    columns = {"name": str}
    assert read_rows(tmp_path / "a.csv", columns) == [{"name": "a"}]
    maybe = {"yaw": float, "quality": float}
    assert read_rows(tmp_path / "a.csv", columns, maybe) == [{"name": "a", "yaw": -3.0}]


def test_flags_are_zero_or_one():
    assert flag("1") is True and flag("0") is False


def test_a_long_cell_is_shortened_in_the_message(tmp_path):
    (tmp_path / "a.csv").write_text("far\n" + "[" * 5000 + "\n")
    with pytest.raises(ValueError, match=r"a\.csv:2: could not convert") as raised:
        read_rows(tmp_path / "a.csv", {"far": float})
    assert len(str(raised.value)) < 500
