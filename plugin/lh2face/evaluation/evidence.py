"""How certain a measured rate is, given the number of errors and of people behind it."""

import math

# The rule of 30 (Doddington et al., 2000): with 30 errors, the true error rate is within 30 % of
# the measured one at a confidence of 90 %. A rate with fewer errors is shown with a warning.
ENOUGH_ERRORS = 30
# A rate over 100 people has a chance error of up to 10 points. A group that is 3 % of the
# population is absent among 100 people with a probability of 5 % (the rule of three).
ENOUGH_PEOPLE = 100
# A threshold at a higher FAR is used only on request: more than one stranger in 100 passes.
HIGHEST_FAR = 0.01


def chance_error(people: int) -> float:
    """Compute the largest chance error of a rate over some people, in percentage points.

    It is half the width of the 95 % interval of a rate of one half: ``1.96 · 50 / √people``.

    Args:
        people: At least 1. A person counts as one trial, because photos of one person are alike.

    Returns:
        Percentage points.
    """
    return 1.96 * 50 / math.sqrt(people)


def number_of_people(people: int | None) -> str:
    """Say how many people a table was measured on, with a warning if they are few.

    Args:
        people: Number of people; ``None`` where it is not known.

    Returns:
        One sentence.
    """
    if people is None:
        return "It is not known on how many people this was measured."
    if people >= ENOUGH_PEOPLE:
        return f"Measured on {people:,} people."
    return (
        f"Measured on only {people} people; by chance alone, a rate may be wrong by up to "
        f"{chance_error(people):.0f} points."
    )


def doubts(rate: str, value: float, trials: int, people: int | None) -> list[str]:
    """List the reasons why a measured rate of false accepts is uncertain.

    Args:
        rate: Name of the rate, such as FAR.
        value: The rate, in (0, 1).
        trials: Number of comparisons or searches that it was measured on.
        people: Number of people in them; ``None`` where it is not known.

    Returns:
        One sentence per reason, without a full stop; empty if there is none.
    """
    found = []
    if value > HIGHEST_FAR:
        found.append(f"{rate} {value:g} lets one stranger in {1 / value:.0f} through")
    if (errors := value * trials) < ENOUGH_ERRORS:
        found.append(
            f"{rate} {value:g} of {trials:,} is {errors:.0f} false accepts; fewer than "
            f"{ENOUGH_ERRORS} leave it uncertain by more than 30 %"
        )
    if people is None:
        found.append(f"it is not known how many people the {rate} was measured on")
    elif people < ENOUGH_PEOPLE:
        found.append(
            f"the {rate} was measured on {people} people; with fewer than {ENOUGH_PEOPLE} it may "
            "not hold for others"
        )
    return found
