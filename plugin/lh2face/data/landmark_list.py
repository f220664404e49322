"""Lists of the landmarks of photos: the path of a photo and ten numbers per line."""

import codecs
import csv
import os
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from lh2face.data.sources import LIST_LINE
from lh2face.files.outputs import behind_links


class ImageFolderError(ValueError):
    """A folder or a landmark file cannot be used; the message names it."""


def read_landmarks(path: Path, root: Path) -> "Landmarks":
    """Read the landmarks of photos.

    Args:
        path: CSV file without header: the path of a photo, then x and y of the five landmarks in
            px, separated by commas or tabs. Blank lines, Windows line endings and a byte order mark
            are accepted.
        root: Folder to which the photos' paths are relative.

    Returns:
        ``(5, 2)`` float32 in px by the photo's resolved path: look up ``photo.resolve()``.

    Raises:
        ImageFolderError: If there is no such file, or a line does not have a path and ten numbers,
            names a photo that does not exist, or contradicts an earlier line.
    """
    if not path.is_file():
        raise ImageFolderError(f"{path} is not a file; expected a CSV of landmarks")
    points = Landmarks()
    with path.open("rb") as file:
        for line, (name, *values) in _rows(path, file):
            photo = root / name
            if not os.path.lexists(photo):
                raise ImageFolderError(f"{path}:{line}: there is no image {photo!s:.300}")
            try:
                found = np.array(values, np.float32).reshape(5, 2)
            except ValueError:
                raise ImageFolderError(
                    f"{path}:{line}: expected 10 numbers after the path, found {values!r:.200}"
                ) from None
            if not np.array_equal(
                points.setdefault(behind_links(photo), found), found, equal_nan=True
            ):
                raise ImageFolderError(f"{path}:{line}: {name:.300} has other landmarks above")
    return points


class Landmarks(Mapping[Path, np.ndarray]):
    """Landmarks ``(5, 2)`` float32 in px, by path; a million take less than 0.5 GB."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._numbers = array("f")

    def setdefault(self, path: Path, landmarks: np.ndarray) -> np.ndarray:
        """Return the landmarks of a path; if it has none yet, store the given ones."""
        if self._rows.setdefault(str(path), len(self._rows)) == len(self._numbers) // 10:
            self._numbers.extend(landmarks.ravel().tolist())
        return self[path]

    def __getitem__(self, path: Path) -> np.ndarray:
        row = self._rows[str(path)]
        return np.array(self._numbers[10 * row : 10 * row + 10], np.float32).reshape(5, 2)

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _rows(path: Path, file: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the lines that are not blank; yield the number and the fields."""
    start = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
    file.seek(start)
    first = next((line for line in _lines(file) if line.strip()), "")
    file.seek(start)
    tabs = "\t" in first and "," not in first
    rows = csv.reader(_lines(file), delimiter="\t" if tabs else ",")
    try:
        for row in rows:
            if any(map(str.strip, row)):
                yield rows.line_num, row
    except csv.Error as error:
        raise ImageFolderError(f"{path}:{rows.line_num}: {error}") from None


def _lines(file: IO[bytes]) -> Iterator[str]:
    # Paths are bytes of an unknown encoding.
    return map(os.fsdecode, iter(lambda: file.readline(LIST_LINE), b""))
