"""Tables of data sets, in UTF-8 whatever the locale."""

import csv
from collections.abc import Iterable
from pathlib import Path


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[dict]) -> None:
    """Write rows, given as dictionaries, under a header.

    A byte of a file name that is not UTF-8 is written as ``\\udcXX``.
    """
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
