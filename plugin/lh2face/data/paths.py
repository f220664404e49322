"""Files that parameters and lists name below a folder."""

import os
from pathlib import Path


def below(folder: Path, name: str) -> Path:
    """The path of a name in a folder.

    Raises:
        ValueError: If it leads out of the folder, where nothing watches it for changes.
    """
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise ValueError(f"{name!r:.200}: leads out of {folder}; expected a path below it")
    return path


def inside(root: Path, name: str, key: str) -> Path:
    """A file of a source or a benchmark, which must lie in the folder that is watched for changes.

    Args:
        root: The folder.
        name: Of the file, relative to it.
        key: The parameter, for the message.

    Raises:
        ValueError: If it leads out of the folder, by a link too.
    """
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{key}: {name} is not in {root}; expected a file in it, relative to it")
    return path
