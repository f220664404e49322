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
