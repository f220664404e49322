"""``lh2face compare A B``: print the figures of two runs, and their differences with intervals."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lh2face.artifacts.evaluations import read_both
from lh2face.evaluation.comparison import Run, compare
from lh2face.evaluation.evidence import number_of_people
from lh2face.evaluation.metric_names import title
from lh2face.text import printable


def show(first: Path, second: Path) -> None:
    """Print a table of the figures of two runs for every benchmark that both have.

    Args:
        first: Folder with the evaluations of the first run.
        second: Folder with the evaluations of the second run.

    Raises:
        ValueError: If the evaluations cannot be read or compared, see :func:`read_both` and
            :func:`compare`.
    """
    folders, both = (first, second), read_both(first, second)
    tables = [table(name, folders, runs) for name, runs in both.items()]
    console = Console()
    for made in tables:
        console.print(made)
    console.print("Percent; bold where the interval excludes zero.")
    for name, (run, _) in both.items():
        console.print(
            f"{name + ': ' if name else ''}{number_of_people(run.people)}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    for folder, runs in zip(folders, zip(*both.values(), strict=True), strict=True):
        if not all(of_seed for run in runs for of_seed in run.benchmarks):
            console.print(
                f"{folder}: it has no provenance.json; nothing says that both runs were evaluated "
                "on the same benchmark.",
                markup=False,
                soft_wrap=True,
            )


def table(benchmark: str, folders: tuple[Path, Path], runs: tuple[Run, Run]) -> Table:
    """Make the table of two runs on one benchmark."""
    made = Table("figure", title=Text(printable(benchmark)) if benchmark else None)
    for name in (*(Text(printable(run)) for run in folders), "difference", "95 % interval"):
        made.add_column(name, justify="right")
    try:
        differences = compare(*runs)
    except ValueError as error:
        raise ValueError(f"{benchmark}: {error}" if benchmark else str(error)) from None
    for found in differences:
        low, high = found.interval
        made.add_row(
            Text(printable(title(found.figure))),
            f"{100 * found.first:.2f}",
            f"{100 * found.second:.2f}",
            f"{100 * (found.first - found.second):+.2f}",
            f"{100 * low:+.2f} … {100 * high:+.2f}",
            style="bold" if found.significant else None,
        )
    return made
