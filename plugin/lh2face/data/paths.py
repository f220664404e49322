"""Paths in parameters and lists, which must lie in a given folder."""

import os
from pathlib import Path


def below(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder; links are not followed.

    Raises:
        ValueError: If it leads out of the folder: DVC watches only the folder for changes.
    """
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise ValueError(f"{name!r:.200}: leads out of {folder}; expected a path below it")
    return path


def inside(root: Path, name: str, key: str) -> Path:
    """Return the path of a file that must be in a folder, because DVC watches only the folder.

    Args:
        root: The folder.
        name: Path of the file, relative to the folder.
        key: Name of the parameter, for the message.

    Raises:
        ValueError: If it leads out of the folder, directly or by a link.
    """
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{key}: {name} is not in {root}; expected a file in it, relative to it")
    return path
