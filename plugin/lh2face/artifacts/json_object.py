"""JSON files that hold an object, from anywhere."""

import json
import reprlib
from math import isfinite
from pathlib import Path
from typing import Any


def read_object(path: Path, expected: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: The file.
        expected: What the folder around it should be, for the message.

    Raises:
        ValueError: If there is no such file, or it is not JSON or another kind of value.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected {expected}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def number(value: Any, path: Path, name: str) -> float:
    """A value of a JSON file that has to be a number.

    Raises:
        ValueError: Naming file and value, if it is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(
            f"{path}: expected a number as {reprlib.repr(name)}, found {reprlib.repr(value)}"
        )
    return value
