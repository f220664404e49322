"""What the evaluation refuses: arrays from which a figure would come that means nothing."""

from typing import Any

import numpy as np


class EvaluationError(ValueError):
    """Arrays or switches that cannot be evaluated; the message names the argument."""


def check_columns(**columns: np.ndarray) -> None:
    """Check that arrays have one axis each and one length, at least 1.

    Raises:
        EvaluationError: With the shapes that were found.
    """
    shapes = {name: np.shape(column) for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise EvaluationError(f"expected arrays of one axis and one length, found {found}")
    if (0,) in shapes.values():
        raise EvaluationError(f"{', '.join(shapes)}: expected at least one entry, found none")


def check_finite(**arrays: np.ndarray) -> None:
    """Check that arrays hold real numbers, none of them NaN or infinite.

    Raises:
        EvaluationError: With the first entry that is none.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise EvaluationError(f"{name}: expected numbers, found {array.dtype}")
        finite = np.isfinite(array)
        if not finite.all():
            at = tuple(np.argwhere(~finite)[0].tolist())
            where = ", ".join(map(str, at))
            raise EvaluationError(f"{name}: expected finite numbers, found {array[at]} at {where}")


def check_flags(**columns: np.ndarray) -> None:
    """Check that arrays are bool: 0 and 1 would be taken for rows.

    Raises:
        EvaluationError: With the type that was found.
    """
    for name, column in columns.items():
        if column.dtype != bool:
            raise EvaluationError(f"{name}: expected bool, found {column.dtype}")


def check_pairs(scores: np.ndarray, **labels: np.ndarray) -> None:
    """Check that scores are finite and labels bool, ``(n,)`` each.

    Raises:
        EvaluationError: As :func:`check_columns`, :func:`check_finite` and :func:`check_flags`.
    """
    check_columns(scores=scores, **labels)
    check_finite(scores=scores)
    check_flags(**labels)


def check_rates(name: str, rates: Any) -> None:
    """Check that there is a rate, and that all are in [0, 1].

    Raises:
        EvaluationError: With the rates that were found.
    """
    found = np.asarray(rates, float)
    if not found.size or not ((found >= 0) & (found <= 1)).all():
        raise EvaluationError(f"{name}: expected rates from 0 to 1, found {found.tolist()}")


def check_least(least: int, **numbers: int) -> None:
    """Check that whole numbers are no smaller than ``least``.

    Raises:
        EvaluationError: With the number that is.
    """
    for name, number in numbers.items():
        if number < least:
            raise EvaluationError(f"{name}: expected at least {least}, found {number}")
