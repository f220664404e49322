"""Checks of arguments; an error names the argument, what was found and what is allowed."""

import math
from numbers import Real
from typing import Any


def positive(name: str, value: Any) -> float:
    """Check for a finite number above 0, and return it as a float.

    Raises:
        ValueError: If the value is anything else.
    """
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"{name}: expected a finite number above 0, found {value!r}")
    return float(value)


def between(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Check for a finite number from ``low`` to ``high``, and return it as a float.

    Raises:
        ValueError: If the value is anything else.
    """
    if not (_is_finite(value) and low <= value <= high):
        allowed = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:.5g}"
        raise ValueError(f"{name}: expected a finite number {allowed}, found {value!r}")
    return float(value)


def at_least(name: str, value: int, low: int) -> int:
    """Check for a whole number of at least ``low``, and return it.

    Raises:
        ValueError: If the value is anything else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name}: expected a whole number of at least {low}, found {value!r}")
    return value


def rising(name: str, value: Any, low: float, high: float = math.inf) -> tuple[float, float]:
    """Check for two finite numbers from ``low`` to ``high``, in ascending order or equal.

    Raises:
        ValueError: If the value is anything else.
    """
    if not (isinstance(value, (tuple, list)) and len(value) == 2):
        raise ValueError(f"{name}: expected two numbers, found {value!r}")
    first, second = (between(name, bound, low, high) for bound in value)
    if first > second:
        raise ValueError(f"{name}: expected two rising numbers, found {value!r}")
    return first, second


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
