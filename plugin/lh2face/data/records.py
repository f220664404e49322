"""A folder with ``train.rec``: its images, its classes, and a digest of its content."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lh2face.data.images import decode_rgb
from lh2face.data.manifest import MANIFEST, read_manifest
from lh2face.data.recordio import RecordError, RecordLayout, RecordReader, record_layout
from lh2face.files.digests import digests, joined

# Files that decide the content of a record folder; only train.rec is required.
FILES = ("property", "train.idx", "train.rec")
PROPERTY = re.compile(r"([0-9]{1,9})\s*(?:,\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*)?")
# No file "property" is longer than this.
PROPERTY_CHARACTERS = 1024
# No data set has more classes than this; a greater label is an error.
MOST_CLASSES = 10**9


class Property(NamedTuple):
    """Content of the file ``property``: number of classes; height and width in px, if given."""

    classes: int
    height: int | None
    width: int | None


class Content(NamedTuple):
    """Content of a record folder.

    Attributes:
        layout: Layout of the record file.
        classes: Number of classes: that in ``property``, or else the greatest label + 1.
        without_images: Number of classes without an image.
        digest: The digest of :func:`records_digest`.
    """

    layout: RecordLayout
    classes: int
    without_images: int
    digest: str

    def __str__(self) -> str:
        empty = f", {self.without_images} of them without an image" if self.without_images else ""
        return f"{self.layout}, identities 0 … {self.classes - 1}{empty}"


def open_records(folder: Path) -> tuple[RecordReader, RecordLayout]:
    """Open the record file of a folder and find its layout.

    Raises:
        RecordError: If there is no such folder, it has no ``train.rec``, or that cannot be read or
            has no image.
    """
    if not folder.is_dir():
        found = "a file; give the folder that holds it" if folder.exists() else "no such folder"
        raise RecordError(f"{folder}: {found}; expected a folder with train.rec")
    if not (folder / "train.rec").exists():
        raise RecordError(f"{folder}: there is no train.rec in it")
    reader = RecordReader(folder / "train.rec")
    layout = record_layout(reader)
    if not len(layout.images):
        raise RecordError(f"{reader.path}: no images in it")
    return reader, layout


def read_property(folder: Path, layout: RecordLayout) -> Property | None:
    """Read the file ``property`` of a record folder; ``None`` if there is none.

    Raises:
        RecordError: If it is neither ``classes`` nor ``classes,height,width``, or its number of
            classes is not the number of identity records, where the record file has those.
    """
    path = folder / "property"
    if not path.exists():
        return None
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        text = file.read(PROPERTY_CHARACTERS).strip()
    found = PROPERTY.fullmatch(text)
    if not found or int(found[1]) == 0:
        raise RecordError(
            f"{path}: expected classes,height,width in whole numbers, found {text[:60]!r}"
        )
    classes = int(found[1])
    height, width = (None if side is None else int(side) for side in found.groups()[1:])
    if len(layout.identities) not in (0, classes):
        raise RecordError(f"{path}: {classes} classes, but {folder / 'train.rec'} has {layout}")
    return Property(classes, height, width)


def check_labels(reader: RecordReader, keys: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """Check that labels are below the number of classes.

    Args:
        reader: The record file, for the message.
        keys: ``(n,)`` keys of images.
        labels: ``(n,)`` identities of these images.
        classes: Number of classes.

    Raises:
        RecordError: If a label is ``classes`` or more; the message names the first such key.
    """
    bad = np.flatnonzero(labels >= classes)
    if len(bad):
        raise RecordError(
            f"{reader.path}: key {keys[bad[0]]}: label {labels[bad[0]]} is none of the {classes} "
            f"classes, 0 … {classes - 1}"
        )


def count_classes(reader: RecordReader, keys: np.ndarray, known: Property | None) -> int:
    """Read all labels of a record file, check them, and return the number of classes.

    Labels are not renumbered (insightface's tools do not either): they may have gaps and need not
    begin at 0.

    Args:
        reader: The record file.
        keys: ``(n,)`` keys of the images.
        known: The content of ``property``; if ``None``, the number of classes is the greatest
            label + 1.

    Raises:
        RecordError: If a label is not a whole number ≥ 0, or not below the number of classes.
    """
    labels = reader.identities(keys)
    check_labels(reader, keys, labels, MOST_CLASSES if known is None else known.classes)
    return int(labels.max()) + 1 if known is None else known.classes


def inspect_records(folder: Path) -> Content:
    """Check a folder of aligned faces and describe its content, in one pass over the file.

    Only the first image is decoded.

    Raises:
        RecordError: If :func:`open_records` or :func:`read_property` raises it, if a label is not
            below the number of classes, or if the first image is not square or not of the size
            that ``property`` gives.
        ImageError: If the first image cannot be decoded.
    """
    reader, layout = open_records(folder)
    known = read_property(folder, layout)
    _check_size(reader, int(layout.images[0]), known)
    content = hashlib.sha256()
    people: set[int] = set()
    for block, rows in reader.blocks(layout.images):
        content.update(block)
        keys = layout.images[rows]
        labels = reader.identities(keys)
        check_labels(reader, keys, labels, MOST_CLASSES if known is None else known.classes)
        people.update(labels.tolist())
    rest = (folder / name for name in FILES[:-1])
    found = digests(*(path for path in rest if path.exists()))
    found["train.rec"] = content.hexdigest()
    classes = max(people) + 1 if known is None else known.classes
    return Content(layout, classes, classes - len(people), joined(found))


def records_digest(folder: Path) -> str:
    """Compute the SHA-256 of the files of ``FILES`` that a record folder has, with their names."""
    return joined(digests(*(path for name in FILES if (path := folder / name).exists())))


def face_digests(folders: Iterable[Path]) -> dict[str, str]:
    """Compute digests that identify the faces in folders of training faces.

    Returns:
        For a folder with a manifest, the digest in the manifest, by the folder's name. For a record
        folder without one, the digests of its files of ``FILES``, by the files' names.

    Raises:
        ManifestError: If a manifest cannot be used.
    """
    found: dict[str, str] = {}
    for folder in folders:
        if (folder / MANIFEST).exists():
            found[folder.name] = read_manifest(folder).digest
        else:
            found |= digests(*(folder / name for name in FILES))
    return found


def _check_size(reader: RecordReader, key: int, known: Property | None) -> None:
    """Check that the first image is square and has the size that ``property`` gives."""
    where = f"{reader.path}: key {key}"
    height, width = decode_rgb(reader[key][1], None, where).shape[:2]
    if known is not None and known.height is not None and (height, width) != known[1:]:
        raise RecordError(
            f"{where}: an image of {width} × {height} px; property has {known.width} × "
            f"{known.height} px"
        )
    if height != width:
        raise RecordError(f"{where}: an image of {width} × {height} px; aligned faces are square")
