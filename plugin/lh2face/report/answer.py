"""The first sentence of the report: which model leads in which figures, and how certain that is."""

from collections import Counter
from typing import Any

from lh2face.evaluation.evidence import ENOUGH_PEOPLE

# The figures in which a model leads are named only if there are at most this many.
NAMED = 3
NOTHING = "No figure has an interval, so the models cannot be compared."
ALONE = "There is only one model, so there is nothing to compare."


def answer(tables: dict[str, dict[str, Any]], people: dict[str, int | None], seeds: int) -> str:
    """Say in one sentence which models lead significantly.

    A lead is significant if its interval excludes zero. On benchmarks of few people, and with a
    single seed, the sentence says why no leader can be named.

    Args:
        tables: The table of each benchmark, from :func:`~lh2face.report.table.table`.
        people: Number of people in each benchmark; ``None`` if it is not known.
        seeds: Number of trainings of each model.
    """
    if not any(table["paths"] for table in tables.values()):
        return NOTHING
    if not any(table["leads"] for table in tables.values()):
        return ALONE
    tables = {name: table for name, table in tables.items() if table["leads"]}
    few = [name for name in tables if (people[name] or ENOUGH_PEOPLE) < ENOUGH_PEOPLE]
    unsure = [name for name in tables if seeds == 1 or name in few]
    sure = [name for name in tables if name not in unsure]
    clauses = []
    if sure:
        leads = _leads(tables, sure)
        clauses.append(f"{_of_figures(tables, sure)}{_leaders(leads)}")
    if unsure:
        why = ["one seed does not show the variance between trainings"] if seeds == 1 else []
        why += [f"{people[name]} people{_on_benchmarks(tables, name)} are few" for name in few]
        best = Counter(ahead["best"] for _, ahead in _leads(tables, unsure)).most_common()
        (first, most), *others = best
        means = [
            f"{first} has the best mean in {most}",
            *(f"{m} in {count}" for m, count in others),
        ]
        clauses.append(
            f"{_of_figures(tables, unsure)}{listed(means)}, but which model leads is uncertain: "
            f"{listed(why)}"
        )
    sentence = "; ".join(clauses)
    basis = [f"{seeds} seed{'s' * (seeds > 1)}"]
    known = [name for name in tables if people[name]]
    basis += [f"{people[name]:,} people{_on_benchmarks(tables, name)}" for name in known]
    if unknown := [name for name in tables if name not in known]:
        basis.append(f"an unknown number of people{_on_benchmarks(tables, *unknown)}")
    return f"{sentence[0].upper()}{sentence[1:]} ({', '.join(basis)})."


def listed(names: list[str]) -> str:
    """Join names as in a sentence: "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _leads(tables: dict[str, dict[str, Any]], names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the lead of each figure, with several benchmarks also its benchmark."""
    return [
        (column + _on_benchmarks(tables, name), ahead)
        for name in names
        for column, ahead in zip(tables[name]["columns"], tables[name]["leads"], strict=True)
    ]


def _leaders(leads: list[tuple[str, dict[str, Any]]]) -> str:
    """Say in how many figures each model leads significantly."""
    led = [(ahead["best"], column) for column, ahead in leads if ahead["significant"]]
    if not led:
        return "no model leads significantly in any"
    found: list[str] = []
    for model, count in Counter(model for model, _ in led).most_common():
        named = ", ".join(column for best, column in led if best == model)
        verb = "" if found else " leads significantly"
        found.append(f"{model}{verb} in {count}" + f" ({named})" * (count <= NAMED))
    if rest := len(leads) - len(led):
        found.append(f"no model in the other {rest}")
    return listed(found)


def _of_figures(tables: dict[str, dict[str, Any]], names: list[str]) -> str:
    """Begin a clause: "of 3 figures on these benchmarks, "."""
    count = sum(len(tables[name]["leads"]) for name in names)
    return f"of {count} figure{'s' * (count > 1)}{_on_benchmarks(tables, *names)}, "


def _on_benchmarks(tables: dict[str, dict[str, Any]], *names: str) -> str:
    """Write " on" with the names of benchmarks, or an empty text if there is only one benchmark."""
    return f" on {listed(list(names))}" if len(tables) > 1 else ""
