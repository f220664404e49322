"""Reading a folder of photos with landmarks, and aligning the faces."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lh2face.data.align import aligned_face, aligned_landmarks
from lh2face.data.images import read_file
from lh2face.files.arrays import read_arrays
from lh2face.files.outputs import atomic_file
from lh2face.files.tables import flag, read_rows

# The layout of the folder of photos, for messages.
LAYOUT = """\
  wild/landmarks.csv                    people to train on; PERSON/PHOTO.jpg beside it
  cfp/landmarks.csv                     people to test on; PERSON/frontal_01.jpg, profile_01.jpg …
  cfp/pairs_ff.csv, cfp/pairs_fp.csv    first,second,same,fold
docs/study_real.md says where to get the photos and how to write the files."""


class FacesError(ValueError):
    """The photos are missing, or their folder does not have the layout that the study reads."""


@dataclass(frozen=True)
class Faces:
    """Aligned faces of some people.

    Attributes:
        paths: N paths relative to the folder, ``PERSON/PHOTO``.
        images: ``(N, S, S, 3)`` uint8 RGB.
        landmarks: ``(N, 5, 2)`` float32, px of a crop of 112 × 112.
    """

    paths: list[str]
    images: np.ndarray
    landmarks: np.ndarray

    @property
    def names(self) -> np.ndarray:
        """The person of each photo, which is the name of its folder: ``(N,)``."""
        return np.array([path.partition("/")[0] for path in self.paths])

    @property
    def profile(self) -> np.ndarray:
        """Whether each photo is a profile, which its name says: ``(N,)`` bool."""
        return np.array([path.partition("/")[2].startswith("profile") for path in self.paths])


@dataclass(frozen=True)
class Pairs:
    """An official list of pairs.

    Attributes:
        first: ``(P,)`` index of the first face.
        second: ``(P,)`` index of the second face.
        same: ``(P,)`` bool, whether a pair shows one person.
        fold: ``(P,)`` integer fold.
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray


@dataclass(frozen=True)
class Photos:
    """Everything that is read from the folder of photos.

    Attributes:
        wild: Faces to train on.
        cfp: Faces to test on.
        frontal: The official frontal–frontal pairs of ``cfp``.
        profile: The official frontal–profile pairs.
    """

    wild: Faces
    cfp: Faces
    frontal: Pairs
    profile: Pairs

    def folds(self) -> np.ndarray:
        """Return the official fold, from 1, of the person of each face of ``cfp``: ``(N,)``."""
        names = self.cfp.names
        fold = {names[row]: self.profile.fold[at] for at, row in enumerate(self.profile.first)}
        return np.array([fold[name] for name in names])


def parts_of(folds: np.ndarray, parts: int) -> np.ndarray:
    """Divide official folds into parts of successive folds, as equal as possible.

    Args:
        folds: ``(N,)`` official fold of each face, from 1.
        parts: Number of parts.

    Returns:
        ``(N,)`` part of each face, from 1.
    """
    numbers = np.unique(folds)
    groups = np.array_split(numbers, max(parts, 1))
    part = {number: at for at, group in enumerate(groups, 1) for number in group}
    return np.array([part[number] for number in folds])


def read_faces(folder: Path, size: int, cache: Path) -> Faces:
    """Read the faces of a folder with ``landmarks.csv``, aligned as in the pipeline and resized.

    Args:
        folder: The folder; each row of its table is a path and five points (x, y) in px.
        size: Side of the faces, in px.
        cache: Folder in which the aligned faces are kept for later calls.

    Raises:
        FacesError: If the table is missing or a row is not valid.
        ImageError: If a photo cannot be read.
    """
    table = folder / "landmarks.csv"
    if not table.is_file():
        raise FacesError(f"{table}: no such file; the study on real faces reads\n{LAYOUT}")
    text = table.read_bytes()
    digest = hashlib.sha256(text).hexdigest()[:16]
    rows = list(csv.reader(text.decode().splitlines()))
    for number, row in enumerate(rows, 1):
        if len(row) != 11:
            raise FacesError(f"{table}:{number}: expected a path and 10 numbers, found {len(row)}")
    paths = [row[0] for row in rows]
    landmarks = np.array([row[1:] for row in rows], float).reshape(-1, 5, 2)
    aligned = np.stack([aligned_landmarks(one) for one in landmarks])
    kept = cache / f"{folder.name}-{size}-{digest}.npz"
    if kept.exists():
        return Faces(paths, read_arrays(kept, "images")["images"], aligned)
    images = np.stack([
        _face(folder / path, one, size) for path, one in zip(paths, landmarks, strict=True)
    ])  # fmt: skip
    kept.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(kept) as path, path.open("wb") as file:
        np.savez(file, images=images)
    return Faces(paths, images, aligned)


def _face(source: Path, landmarks: np.ndarray, size: int) -> np.ndarray:
    # If the detector found no face in a profile, the table has the points of a centred face.
    face = aligned_face(read_file(source), landmarks, str(source), check=False)
    return cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA)


def read_pairs(path: Path, faces: Faces) -> Pairs:
    """Read an official list of pairs, and return the indices of its photos among the faces.

    Raises:
        FacesError: If the file is missing.
        TableError: If a row names a photo that is not among the faces, or is not valid otherwise.
    """
    if not path.is_file():
        raise FacesError(f"{path}: no such file; the study on real faces reads\n{LAYOUT}")
    where = {name: row for row, name in enumerate(faces.paths)}

    def index(name: str) -> int:
        if name not in where:
            raise ValueError(f"expected a photo of landmarks.csv, found {name!r}")
        return where[name]

    rows = read_rows(path, {"first": index, "second": index, "same": flag, "fold": int})
    columns = (
        np.array([row[name] for row in rows]) for name in ("first", "second", "same", "fold")
    )
    return Pairs(*columns)


def read_photos(folder: Path, size: int, cache: Path) -> Photos:
    """Read all photos of the study; see :func:`read_faces` and :func:`read_pairs`."""
    cfp = read_faces(folder / "cfp", size, cache)
    lists = (read_pairs(folder / "cfp" / f"pairs_{kind}.csv", cfp) for kind in ("ff", "fp"))
    return Photos(read_faces(folder / "wild", size, cache), cfp, *lists)
