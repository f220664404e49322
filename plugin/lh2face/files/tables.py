"""The project's own tables: CSV in UTF-8 whatever the locale, safe to open in a spreadsheet."""

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lh2face.text import from_cell, to_cell


def flag(text: str) -> bool:
    """A cell that is 0 or 1.

    Raises:
        ValueError: If it is anything else.
    """
    if text not in ("0", "1"):
        raise ValueError(f"expected 0 or 1, found {text!r:.80}")
    return text == "1"


# Columns of a list of pairs of images.
PAIR_LIST = {"first": str, "second": str, "same": flag}


class TableError(ValueError):
    """A table that cannot be used; the message names the file, and the line where there is one."""


def write_rows(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    r"""Write a table, which ``dvc plots`` reads too.

    Text that a spreadsheet would take for a formula is written as :func:`~lh2face.text.to_cell`
    gives it. A byte of a file name that is not UTF-8 is written as ``\udcXX``.
    """
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([to_cell(value) for value in row] for row in (header, *rows))


def read_rows(
    path: Path,
    columns: Mapping[str, Callable[[str], Any]],
    optional: Mapping[str, Callable[[str], Any]] | None = None,
) -> list[dict[str, Any]]:
    """The rows of a table of :func:`write_rows`, names as they were given to it.

    Args:
        path: The file.
        columns: What to make of each column's cells, such as ``int``; other columns are left out.
        optional: The same of columns that need not be there.

    Raises:
        TableError: If a column is missing, a row has more or fewer cells than the header, a cell is
            not what its column should hold (a ``ValueError`` of the function), or the file is no
            CSV in UTF-8.
        OSError: If it cannot be read.
    """
    found = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        try:
            header = [from_cell(cell) for cell in next(lines, [])]
            if missing := [name for name in columns if header.count(name) != 1]:
                raise ValueError(f"expected each once in the header: {', '.join(missing)}")
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


def _reason(error: Exception) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
