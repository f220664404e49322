"""JSON files that hold an object, from anywhere."""

import json
import reprlib
from math import isfinite
from pathlib import Path
from typing import Any

# No description, figures or provenance come near it.
MOST_BYTES = 1 << 26


def read_object(path: Path, expected: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: The file.
        expected: What the folder around it should be, for the message.

    Raises:
        ValueError: If there is no such file, it is larger than ``MOST_BYTES``, not JSON, or another
            kind of value.
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
