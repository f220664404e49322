"""Safe reading of ``.npy`` and ``.npz`` files: only numbers, no pickled objects."""

from pathlib import Path
from typing import Literal

import numpy as np

from lh2face.text import first_line

# Limit for the arrays of an archive in bytes: a compressed file can expand a thousandfold.
MOST_BYTES = 1 << 32


def read_array(path: Path, mode: Literal["r", "r+"] = "r") -> np.ndarray:
    """Open a ``.npy`` file of numbers, memory-mapped.

    Args:
        path: The file.
        mode: ``"r"`` to read only, ``"r+"`` to write too.

    Raises:
        ValueError: If it is not such a file, or is cut short.
        OSError: If it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a regular file")
    try:
        array = np.lib.format.open_memmap(path, "r")
        # Opened for writing without this check, a file that is cut short would be zero-filled.
        return array if mode == "r" else np.lib.format.open_memmap(path, mode)
    except OSError:
        raise
    except Exception as error:  # numpy parses the header, which can fail in many ways
        what = first_line(error)
        raise ValueError(f"{path}: not a whole .npy file of numbers: {what:.300}") from None


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file.

    Args:
        path: The file.
        names: Names of the arrays that it must have.

    Raises:
        ValueError: If it is not such a file, is damaged, lacks an array, or has more than
            ``MOST_BYTES`` of arrays.
        OSError: If it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a regular file")
    with path.open("rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                size = sum(part.file_size for part in file.zip.infolist())
                if size > MOST_BYTES:
                    raise ValueError(f"{size} bytes of arrays, at most {MOST_BYTES} are read")
                if missing := set(names) - set(file.files):
                    raise ValueError(f"there is no array {min(missing)!r}")
                return dict(file)
        except Exception as error:  # zipfile, zlib and numpy raise many types of error
            what = first_line(error)
            raise ValueError(f"{path}: not a whole .npz file of numbers: {what:.300}") from None
