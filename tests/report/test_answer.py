"""The report's first sentence says who leads where, computed from made-up tables."""

import pytest

from lh2face.report.answer import answer


def table(*leads: tuple[str, str, bool]) -> dict:
    """Return a table of figures, given by name, best model and whether its lead is significant."""
    columns = [column for column, _, _ in leads]
    found = [{"best": best, "significant": significant} for _, best, significant in leads]
    return {"paths": columns, "columns": columns, "leads": found}


LED = table(("rank-1", "b", True), ("rank-5", "a", False), ("TAR", "b", True), ("age", "a", True))


@pytest.mark.parametrize(
    ("tables", "people", "seeds", "sentence"),
    [
        (
            {"ijbc": LED}, {"ijbc": 3531}, 3,
            "Of 4 figures, b leads significantly in 2 (rank-1, TAR), a in 1 (age) and no model in "
            "the other 1 (3 seeds, 3,531 people).",
        ),
        (
            {"lfw": table(("lfw", "b", False))}, {"lfw": None}, 2,
            "Of 1 figure, no model leads significantly in any "
            "(2 seeds, an unknown number of people).",
        ),
        (
            {"ijbc": LED}, {"ijbc": 3531}, 1,
            "Of 4 figures, b has the best mean in 2 and a in 2, but which model leads is "
            "uncertain: "
            "one seed does not show the variance between trainings (1 seed, 3,531 people).",
        ),
        (
            {"own": LED}, {"own": 99}, 3,
            "Of 4 figures, b has the best mean in 2 and a in 2, but which model leads is "
            "uncertain: "
            "99 people are few (3 seeds, 99 people).",
        ),
        (
            {"big": LED, "own": table(("rank-1", "a", True)), "bare": table()},
            {"big": 100, "own": 10, "bare": 5}, 2,
            "Of 4 figures on big, b leads significantly in 2 (rank-1 on big, TAR on big), a in 1 "
            "(age on big) and no model in the other 1; of 1 figure on own, a has the best mean in "
            "1, but which model leads is uncertain: 10 people on own are few "
            "(2 seeds, 100 people on big, 10 people on own).",
        ),
        (
            {"x": table()}, {"x": 5}, 3,
            "No figure has an interval, so the models cannot be compared.",
        ),
        (
            {"x": {**LED, "leads": []}}, {"x": 500}, 3,
            "There is only one model, so there is nothing to compare.",
        ),
    ],
)  # fmt: skip
def test_the_sentence_depends_on_intervals_seeds_and_people(tables, people, seeds, sentence):
    assert answer(tables, people, seeds) == sentence


def test_many_leads_are_counted_instead_of_named():
    made = answer({"x": table(*((f"f{i}", "a", True) for i in range(5)))}, {"x": 500}, 2)
    assert made == "Of 5 figures, a leads significantly in 5 (2 seeds, 500 people)."


def test_benchmarks_of_unknown_people_are_named_together():
    tables = {name: table(("TAR", "a", False)) for name in ("x", "y", "z")}
    made = answer(tables, {"x": None, "y": 200, "z": None}, 2)
    assert made.endswith("(2 seeds, 200 people on y, an unknown number of people on x and z).")
