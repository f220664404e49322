"""How much a measured rate says, by the number of errors and of people behind it."""

import math

# The rule of 30 (Doddington et al., 2000): with 30 errors a true error rate is, at a confidence of
# 90 %, within 30 % of the measured one. Of fewer, a rate is shown with a warning.
ENOUGH_ERRORS = 30
# A rate over 100 people is off by up to 10 points by chance, and someone whose like are 3 % of all
# people is missing from them with a probability of 5 % (the rule of three).
ENOUGH_PEOPLE = 100
# Above it a threshold decides nothing unless it is asked for: one stranger in 100 passes.
HIGHEST_FAR = 0.01


def chance_error(people: int) -> float:
    """Points by which a rate over so many people is off by chance, at most: the half of the 95 %
    interval of a rate of one half, ``1.96 · 50 / √people``.

    Args:
        people: At least 1; each counts as one trial, as photos of one person resemble each other.
    """
    return 1.96 * 50 / math.sqrt(people)


def number_of_people(people: int | None) -> str:
    """What a table says of how many people it was measured on; a warning where they are few.

    Args:
        people: Their number; ``None`` where it is not known.
    """
    if people is None:
        return "It is not known of how many people."
    if people >= ENOUGH_PEOPLE:
        return f"Measured on {people:,} people."
    return (
        f"Measured on {people} people, which are few: by chance alone, a rate is off by up to "
        f"{chance_error(people):.0f} points."
    )


def doubts(rate: str, value: float, trials: int, people: int | None) -> list[str]:
    """What makes a measured rate of false accepts unsure, a sentence each.

    Args:
        rate: Its name, such as FAR.
        value: The rate, in (0, 1).
        trials: Comparisons or searches that it was measured on.
        people: Whom they show; ``None`` where it is not known.
    """
    found = []
    if value > HIGHEST_FAR:
        found.append(f"{rate} {value:g} lets one stranger in {1 / value:.0f} through")
    if (errors := value * trials) < ENOUGH_ERRORS:
        found.append(
            f"{rate} {value:g} of {trials:,} is {errors:.0f} false accepts; fewer than "
            f"{ENOUGH_ERRORS} leave it unsure by more than 30 %"
        )
    if people is None:
        found.append(f"it is not known how many people the {rate} was measured on")
    elif people < ENOUGH_PEOPLE:
        found.append(
            f"the {rate} was measured on {people} people; of fewer than {ENOUGH_PEOPLE} it may not "
            "hold for others"
        )
    return found
