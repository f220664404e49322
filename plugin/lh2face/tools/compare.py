"""``lh2face compare A B``: print the figures of two runs, and their differences with intervals."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lh2face.artifacts.evaluations import read_both
from lh2face.artifacts.reference import against_reference
from lh2face.evaluation.comparison import Difference, Run, compare
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
    console.print("Values are in percent. Bold: the interval of the difference excludes zero.")
    for name, (run, _) in both.items():
        console.print(
            f"{name + ': ' if name else ''}{number_of_people(run.people)}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    for folder, runs in zip(folders, zip(*both.values(), strict=True), strict=True):
        if not all(of_seed for run in runs for of_seed in run.benchmarks):
            console.print(
                f"{folder}: it has no provenance.json, so it is not certain that both runs were "
                "evaluated on the same benchmark.",
                markup=False,
                soft_wrap=True,
            )


def show_reference(runs: Path, reference: Path) -> None:
    """Print tables that compare all models of a run with a reference.

    Args:
        runs: Folder with one folder per model.
        reference: File written by ``lh2face reference``.

    Raises:
        ValueError: If they cannot be compared, see
            :func:`~lh2face.artifacts.reference.against_reference`.
    """
    found = against_reference(runs, reference)
    console = Console()
    outside = 0
    for benchmark, models in found.items():
        for model, differences in models.items():
            console.print(rows(f"{benchmark}: {model}", ("yours", "reference"), differences))
            outside += sum(difference.significant for difference in differences)
    total = sum(len(differences) for models in found.values() for differences in models.values())
    console.print(
        f"Values are in percent. {outside} of {total} figures, in bold, are outside of the "
        "reference's 95 % interval; by chance, about one in twenty is."
    )


def table(benchmark: str, folders: tuple[Path, Path], runs: tuple[Run, Run]) -> Table:
    """Make the table of the figures of two runs on one benchmark."""
    try:
        differences = compare(*runs)
    except ValueError as error:
        raise ValueError(f"{benchmark}: {error}" if benchmark else str(error)) from None
    return rows(benchmark, tuple(map(str, folders)), differences)


def rows(caption: str, names: tuple[str, ...], differences: list[Difference]) -> Table:
    """Make a table of differences, in bold where the interval excludes zero."""
    made = Table("figure", title=Text(printable(caption)) if caption else None)
    columns: list[Text | str] = [Text(printable(run)) for run in names]
    for name in (*columns, "difference", "95 % interval"):
        made.add_column(name, justify="right")
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
