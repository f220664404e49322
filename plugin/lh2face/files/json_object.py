"""Safe reading of JSON files that contain an object."""

import json
import reprlib
from math import isfinite
from pathlib import Path
from typing import Any

# Limit of a file; descriptions, figures and provenances are far smaller.
MOST_BYTES = 1 << 26


def read_object(path: Path, expected: str) -> dict[str, Any]:
    """Read the object in a JSON file.

    Args:
        path: The file.
        expected: Description of the expected folder, for the message if the file is missing.

    Raises:
        ValueError: If there is no such file, it is larger than ``MOST_BYTES``, it is not JSON, or
            its value is not an object.
        OSError: If it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected {expected}")
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise ValueError(f"{path}: expected at most {MOST_BYTES} bytes of JSON, found more")
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def whole(value: Any, path: Path, name: str, least: int) -> int:
    """Check that a value of a JSON file is a whole number of at least ``least``, and return it.

    Args:
        value: The value.
        path: The file, for the message.
        name: Name of the value, for the message.
        least: The least value that is allowed.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(
            f"{path}: {name}: expected a whole number of at least {least}, "
            f"found {reprlib.repr(value)}"
        )
    return value


def number(value: Any, path: Path, name: str) -> float:
    """Check that a value of a JSON file is a finite number, and return it.

    Args:
        value: The value.
        path: The file, for the message.
        name: Name of the value, for the message.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(
            f"{path}: expected a number as {reprlib.repr(name)}, found {reprlib.repr(value)}"
        )
    return value
