"""Checks of arrays and options, so that no evaluation gives meaningless figures."""

from typing import Any

import numpy as np


class EvaluationError(ValueError):
    """Arrays or options cannot be evaluated; the message names the argument."""


def check_columns(**columns: np.ndarray) -> None:
    """Check that all arrays have one axis and the same length, at least 1.

    Raises:
        EvaluationError: If they do not; the message gives the shapes.
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
        EvaluationError: If they do not; the message gives the first bad entry.
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
    """Check that arrays are bool: integers 0 and 1 would be used as row numbers.

    Raises:
        EvaluationError: If they are not; the message gives the type.
    """
    for name, column in columns.items():
        if column.dtype != bool:
            raise EvaluationError(f"{name}: expected bool, found {column.dtype}")


def check_pairs(scores: np.ndarray, **labels: np.ndarray) -> None:
    """Check that scores are finite and labels bool, ``(n,)`` each.

    Raises:
        EvaluationError: If they are not.
    """
    check_columns(scores=scores, **labels)
    check_finite(scores=scores)
    check_flags(**labels)


def check_rates(name: str, rates: Any) -> None:
    """Check that there is at least one rate, and that all are in [0, 1].

    Raises:
        EvaluationError: If not; the message gives the rates.
    """
    found = np.asarray(rates, float)
    if not found.size or not ((found >= 0) & (found <= 1)).all():
        raise EvaluationError(f"{name}: expected rates from 0 to 1, found {found.tolist()}")


def check_least(least: int, **numbers: int) -> None:
    """Check that integers are at least ``least``.

    Raises:
        EvaluationError: If one is not; the message gives it.
    """
    for name, number in numbers.items():
        if number < least:
            raise EvaluationError(f"{name}: expected at least {least}, found {number}")
