"""Reading and writing of CSV tables: always UTF-8, and safe to open in a spreadsheet."""

import csv
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from lh2face.text import from_cell, to_cell


def flag(text: str) -> bool:
    """Convert a cell "0" or "1" to a bool.

    Raises:
        ValueError: If it has another value.
    """
    if text not in ("0", "1"):
        raise ValueError(f"expected 0 or 1, found {text!r:.80}")
    return text == "1"


# Columns of a list of pairs of images.
PAIR_LIST: dict[str, Callable[[str], Any]] = {"first": str, "second": str, "same": flag}


class TableError(ValueError):
    """A table cannot be used; the message names the file and, if known, the line."""


def write_rows(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    r"""Write a CSV table.

    :func:`~lh2face.text.to_cell` escapes text that a spreadsheet would take for a formula. A byte
    of a file name that is not UTF-8 is written as ``\udcXX``.
    """
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        _write(file, chain([header], rows))


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Append a row to a table like those of :func:`write_rows`; the first one adds the header."""
    header: list[Iterable[object]] = [] if path.exists() else [row]
    with path.open("a", newline="", encoding="utf-8", errors="backslashreplace") as file:
        _write(file, [*header, row.values()])


def _write(file: IO[str], rows: Iterable[Iterable[object]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([to_cell(value) for value in row] for row in rows)


def read_header(path: Path) -> list[str]:
    """Read the names of the columns of a CSV table.

    Raises:
        TableError: If the first line is not CSV in UTF-8.
        OSError: If the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            return [from_cell(cell) for cell in next(csv.reader(file), [])]
        except (csv.Error, ValueError) as error:
            raise TableError(f"{path}:1: {_reason(error):.300}") from None


def read_rows(
    path: Path,
    columns: Mapping[str, Callable[[str], Any]],
    optional: Mapping[str, Callable[[str], Any]] | None = None,
) -> list[dict[str, Any]]:
    """Read the rows of a CSV table as dictionaries, such as one of :func:`write_rows`.

    Args:
        path: The file.
        columns: For each required column, a function that converts its cells, such as ``int``.
            Columns that are neither here nor in ``optional`` are ignored.
        optional: The same for columns that may be missing.

    Raises:
        TableError: If a required column does not occur exactly once, a row has more or fewer cells
            than the header, a function raises ``ValueError`` for a cell, or the file is not CSV in
            UTF-8.
        OSError: If the file cannot be read.
    """
    found = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        try:
            header = [from_cell(cell) for cell in next(lines, [])]
            if missing := [name for name in columns if header.count(name) != 1]:
                raise ValueError(f"expected each column once in the header: {', '.join(missing)}")
            of_column = {**columns, **(optional or {})}
            for row in filter(None, lines):
                if len(row) != len(header):
                    raise ValueError(f"expected {len(header)} cells, found {len(row)}")
                cells = zip(header, row, strict=True)
                found.append(
                    {
                        name: of_column[name](from_cell(cell))
                        for name, cell in cells
                        if name in of_column
                    }
                )
        except (csv.Error, ValueError) as error:
            raise TableError(f"{path}:{max(lines.line_num, 1)}: {_reason(error):.300}") from None
    return found


def read_numbers(path: Path) -> dict[str, np.ndarray]:
    """Read a CSV table of numbers, some of which may be NaN: each column ``(N,)`` by its name.

    Raises:
        TableError: If two columns have the same name, or a row does not have a finite number or NaN
            for each column.
        OSError: If the file cannot be read.
    """
    found = []
    names = read_header(path)
    if len(set(names)) < len(names):
        raise TableError(f"{path}:1: expected each column name once")
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        try:
            next(lines, None)
            for row in filter(None, lines):
                found.append(np.array(row, float))
                if found[-1].shape != (len(names),) or np.isinf(found[-1]).any():
                    raise ValueError
        except (csv.Error, ValueError):
            what = f"expected {len(names)} numbers"
            raise TableError(f"{path}:{lines.line_num}: {what}") from None
    return dict(zip(names, np.array(found).reshape(len(found), len(names)).T, strict=True))


def _reason(error: Exception) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
