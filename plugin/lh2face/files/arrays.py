"""Files of numpy's, from anywhere: numbers only, and nothing in them is run."""

from pathlib import Path
from typing import Literal

import numpy as np

from lh2face.text import first_line

# Bytes of all arrays of an archive; a compressed file may hold a thousand times its own size.
MOST_BYTES = 1 << 32


def read_array(path: Path, mode: Literal["r", "r+"] = "r") -> np.ndarray:
    """The numbers of a ``.npy`` file, memory-mapped.

    Raises:
        ValueError: If it is no such file, or cut short.
        OSError: If it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: not a regular file")
    try:
        array = np.lib.format.open_memmap(path, "r")
        # Opened for writing at once, a file that is cut short would be filled up with zeros.
        return array if mode == "r" else np.lib.format.open_memmap(path, mode)
    except OSError:
        raise
    except Exception as error:  # numpy evaluates the header, which can fail in any way
        what = first_line(error)
        raise ValueError(f"{path}: not a whole .npy file of numbers: {what:.300}") from None


def read_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file.

    Args:
        path: The file.
        names: Arrays that must be there.

    Raises:
        ValueError: If it is no such file, is damaged, lacks an array, or holds more than
            ``MOST_BYTES``.
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
        except Exception as error:  # of zip, zlib and numpy's header, which fail in many ways
            what = first_line(error)
            raise ValueError(f"{path}: not a whole .npz file of numbers: {what:.300}") from None
