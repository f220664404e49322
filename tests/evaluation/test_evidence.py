"""Doubts about a measured rate follow the rule of 30 and the number of people."""

import numpy as np
import pytest

from lh2face.evaluation.evidence import (
    ENOUGH_ERRORS,
    ENOUGH_PEOPLE,
    chance_error,
    doubts,
    number_of_people,
)

stats = pytest.importorskip("scipy.stats", reason="needs the pipeline extra")


def test_thirty_errors_determine_a_rate_within_thirty_percent():
    """This rule of 30 is checked with the Poisson distribution; fewer errors do not suffice."""
    for errors, enough in ((ENOUGH_ERRORS, True), (ENOUGH_ERRORS // 2, False)):
        inside = np.diff(stats.poisson.cdf([0.7 * errors, 1.3 * errors], errors))[0]
        assert (inside > 0.88) == enough


def test_the_required_number_of_people_bounds_the_error():
    assert (1 - 0.03) ** ENOUGH_PEOPLE < 0.05 < (1 - 0.03) ** (ENOUGH_PEOPLE - 10)
    assert chance_error(ENOUGH_PEOPLE) == pytest.approx(10, abs=0.3)


@pytest.mark.parametrize("people", [10, 60, 1000])
def test_the_error_by_chance_equals_that_of_the_binomial(people):
    low, high = stats.binom.interval(0.95, people, 0.5)
    assert chance_error(people) == pytest.approx(100 * (high - low) / 2 / people, rel=0.15)


@pytest.mark.parametrize(
    ("people", "said"),
    [
        (10, "Measured on only 10 people; by chance alone, a rate may be wrong by up to 31"),
        (99, "only"),
        (100, "Measured on 100 people."),
        (1500, "Measured on 1,500 people."),
        (None, "It is not known on how many people this was measured."),
    ],
)
def test_a_table_states_the_number_of_people(people, said):
    assert said in number_of_people(people)
    assert ("only" in number_of_people(people)) == (people in (10, 99))


@pytest.mark.parametrize(
    ("value", "trials", "people", "said"),
    [
        (0.01, 3000, 100, []),
        (0.01, 2999, 100, ["is 30 false accepts; fewer than 30"]),
        (0.01, 1200, 100, ["FAR 0.01 of 1,200 is 12 false accepts; fewer than 30"]),
        (0.1, 3000, 100, ["FAR 0.1 lets one stranger in 10 through"]),
        (0.01, 3000, 99, ["was measured on 99 people; with fewer than 100"]),
        (0.01, 3000, None, ["not known how many people the FAR"]),
        (0.2, 50, 5, ["one stranger in 5", "10 false accepts", "5 people"]),
        (0.0, 50, 500, ["FAR 0 of 50 is 0 false accepts"]),
    ],
)
def test_doubts_name_large_fars_few_errors_and_few_people(value, trials, people, said):
    found = doubts("FAR", value, trials, people)
    assert len(found) == len(said)
    for doubt, part in zip(found, said, strict=True):
        assert part in doubt
