"""``lh2face compare A B``: the figures of two runs, and their difference with its interval."""

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from lh2face.stages.comparison import compare, read_run
from lh2face.stages.figures import title
from lh2face.text import printable


def show(first: Path, second: Path) -> None:
    """Print a table of the figures of two runs.

    Raises:
        ValueError: As :func:`read_run` and :func:`compare`.
    """
    names = (Column(Text(printable(run))) for run in (first, second))
    table = Table("figure", *names, "difference", "95 % interval")
    for column in table.columns[1:]:
        column.justify = "right"
    runs = [read_run(folder) for folder in (first, second)]
    for found in compare(*runs):
        low, high = found.interval
        table.add_row(
            Text(printable(title(found.figure))),
            f"{100 * found.first:.2f}",
            f"{100 * found.second:.2f}",
            f"{100 * (found.first - found.second):+.2f}",
            f"{100 * low:+.2f} … {100 * high:+.2f}",
            style="bold" if found.significant else None,
        )
    console = Console()
    console.print(table)
    console.print("Percent; bold where the interval excludes zero.")
    for folder, run in zip((first, second), runs, strict=True):
        if not all(run.benchmarks):
            console.print(
                f"{folder}: it has no provenance.json; nothing says that both runs were evaluated "
                "on the same benchmark.",
                markup=False,
                soft_wrap=True,
            )
