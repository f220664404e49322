"""Readers of the ``metrics.json`` of the stages fit3d and depth."""

from pathlib import Path
from typing import Any

from lh2face.files.json_object import number, read_object


def read_fit(path: Path) -> dict[str, Any]:
    """Read the ``metrics.json`` of stage ``fit3d``.

    Returns:
        ``steps``, ``images_per_second``, ``seconds``, ``peak_memory_mib`` (None if it was not
        measured), and the losses by name.

    Raises:
        ValueError: If one of the first four is not a finite number, or one of the first three is
            not above 0.
    """
    found = read_object(path, "a folder of stage fit3d")
    if found.get("peak_memory_mib") is not None:
        number(found["peak_memory_mib"], path, "peak_memory_mib")
    for key in ("steps", "images_per_second", "seconds"):
        if number(found.get(key), path, key) <= 0:
            raise ValueError(f"{path}: expected {key} above 0, found {found[key]}")
    return {"peak_memory_mib": None, **found}


def read_depth(path: Path) -> dict[str, dict[str, float]]:
    """Read the ``metrics.json`` of stage ``depth``: ``SIDE`` and ``MAD`` by the name of the depth.

    Raises:
        ValueError: If one of these is not a finite number.
    """
    measured = {}
    for name, errors in read_object(path, "a folder of stage depth").items():
        given = errors if isinstance(errors, dict) else {}
        measured[name] = {
            key: number(given.get(key), path, f"{name}.{key}") for key in ("SIDE", "MAD")
        }
    return measured
