"""The sentence that the report begins with: who leads where, and how far that can be trusted."""

from collections import Counter
from typing import Any

from lh2face.evaluation.evidence import ENOUGH_PEOPLE

# Figures that are named in the sentence, of a model that leads in no more.
NAMED = 3
NOTHING = "No figure has an interval, so nothing can be told."
ALONE = "There is one model only, so nobody leads."


def answer(tables: dict[str, dict[str, Any]], people: dict[str, int | None], seeds: int) -> str:
    """One sentence on who leads, from the intervals of the leads.

    A lead counts where its interval excludes zero, if there are several seeds and enough people.

    Args:
        tables: What :func:`~lh2face.report.table.table` makes of each benchmark.
        people: How many people each benchmark shows; ``None`` where it is not known.
        seeds: How many trainings of each model.
    """
    if not any(made["paths"] for made in tables.values()):
        return NOTHING
    if not any(made["leads"] for made in tables.values()):
        return ALONE
    tables = {name: made for name, made in tables.items() if made["leads"]}
    few = [name for name in tables if (people[name] or ENOUGH_PEOPLE) < ENOUGH_PEOPLE]
    unsure = [name for name in tables if seeds == 1 or name in few]
    sure = [name for name in tables if name not in unsure]
    clauses = []
    if sure:
        leads = _leads(tables, sure)
        clauses.append(f"{_of(tables, sure)}{_who_leads(leads)}")
    if unsure:
        why = ["one seed does not show how much trainings differ"] if seeds == 1 else []
        why += [f"{people[name]} people{_on(tables, name)} are few" for name in few]
        best = Counter(ahead["best"] for _, ahead in _leads(tables, unsure)).most_common()
        (first, most), *others = best
        means = [
            f"{first} has the best mean in {most}",
            *(f"{m} in {count}" for m, count in others),
        ]
        clauses.append(
            f"{_of(tables, unsure)}{listed(means)}, but who leads cannot be told: {listed(why)}"
        )
    sentence = "; ".join(clauses)
    basis = [f"{seeds} seed{'s' * (seeds > 1)}"]
    known = [name for name in tables if people[name]]
    basis += [f"{people[name]:,} people{_on(tables, name)}" for name in known]
    if unknown := [name for name in tables if name not in known]:
        basis.append(f"an unknown number of people{_on(tables, *unknown)}")
    return f"{sentence[0].upper()}{sentence[1:]} ({', '.join(basis)})."


def listed(names: list[str]) -> str:
    """The names as a sentence lists them: "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _leads(tables: dict[str, dict[str, Any]], names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Each figure's name, with its benchmark's where there are several, and its lead."""
    return [
        (column + _on(tables, name), ahead)
        for name in names
        for column, ahead in zip(tables[name]["columns"], tables[name]["leads"], strict=True)
    ]


def _who_leads(leads: list[tuple[str, dict[str, Any]]]) -> str:
    led = [(ahead["best"], column) for column, ahead in leads if ahead["significant"]]
    if not led:
        return "no model leads significantly in any"
    found: list[str] = []
    for model, count in Counter(model for model, _ in led).most_common():
        named = ", ".join(column for best, column in led if best == model)
        verb = "" if found else " leads significantly"
        found.append(f"{model}{verb} in {count}" + f" ({named})" * (count <= NAMED))
    if rest := len(leads) - len(led):
        found.append(f"nobody in the other {rest}")
    return listed(found)


def _of(tables: dict[str, dict[str, Any]], names: list[str]) -> str:
    count = sum(len(tables[name]["leads"]) for name in names)
    return f"of {count} figure{'s' * (count > 1)}{_on(tables, *names)}, "


def _on(tables: dict[str, dict[str, Any]], *names: str) -> str:
    """Which benchmarks are meant, where there are several."""
    return f" on {listed(list(names))}" if len(tables) > 1 else ""
