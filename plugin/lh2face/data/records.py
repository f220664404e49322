"""A folder with ``train.rec`` as people have it: images, classes, and a digest of the content."""

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

# What decides the content; all but the last may be missing.
FILES = ("property", "train.idx", "train.rec")
PROPERTY = re.compile(r"([0-9]{1,9})\s*(?:,\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*)?")
# More than any such file has.
PROPERTY_CHARACTERS = 1024
# More classes than any file has; a greater label is no identity.
MOST_CLASSES = 10**9


class Property(NamedTuple):
    """The file ``property``: number of classes; height and width of the images, px, if there."""

    classes: int
    height: int | None
    width: int | None


class Content(NamedTuple):
    """What is in a record folder.

    Attributes:
        layout: Of the record file.
        classes: Number of them: that of ``property``, or the greatest label + 1.
        without_images: How many of the classes no image belongs to.
        digest: As from :func:`records_digest`.
    """

    layout: RecordLayout
    classes: int
    without_images: int
    digest: str

    def __str__(self) -> str:
        empty = f", {self.without_images} of them without an image" if self.without_images else ""
        return f"{self.layout}, identities 0 … {self.classes - 1}{empty}"


def open_records(folder: Path) -> tuple[RecordReader, RecordLayout]:
    """The record file of a folder, and what it was found to hold: at least one image.

    Raises:
        RecordError: If there is no such folder, no ``train.rec`` in it, no image in that, or it
            cannot be read.
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
    """The file ``property`` of a record folder; None where there is none.

    Raises:
        RecordError: If it is not ``classes,height,width``, or has another number of classes than
            the record file has identity records.
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
    classes, *sides = (None if number is None else int(number) for number in found.groups())
    if len(layout.identities) not in (0, classes):
        raise RecordError(f"{path}: {classes} classes, but {folder / 'train.rec'} has {layout}")
    return Property(classes, *sides)


def check_labels(reader: RecordReader, keys: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """Refuse a label that is no class.

    Args:
        reader: The record file.
        keys: ``(n,)`` of images.
        labels: ``(n,)`` identities of them.
        classes: Number of classes.

    Raises:
        RecordError: Naming the first key whose label is ``classes`` or more.
    """
    bad = np.flatnonzero(labels >= classes)
    if len(bad):
        raise RecordError(
            f"{reader.path}: key {keys[bad[0]]}: label {labels[bad[0]]} is none of the {classes} "
            f"classes, 0 … {classes - 1}"
        )


def count_classes(reader: RecordReader, keys: np.ndarray, known: Property | None) -> int:
    """Number of classes of a record file whose labels are all looked at.

    Labels are used as they are, as insightface's tools do: they may have gaps, and begin anywhere.

    Args:
        reader: The record file.
        keys: ``(n,)`` of the images.
        known: Its ``property``; without one the greatest label + 1 is the number of classes.

    Raises:
        RecordError: If a label is no class.
    """
    labels = reader.identities(keys)
    check_labels(reader, keys, labels, MOST_CLASSES if known is None else known.classes)
    return int(labels.max()) + 1 if known is None else known.classes


def inspect_records(folder: Path) -> Content:
    """All that can be known of a folder of aligned faces without decoding them; it is read once.

    Raises:
        RecordError: As :func:`open_records` and :func:`read_property`; if a label is no class; or
            if the first image is not square, or has another size than ``property`` says.
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
    """SHA-256 of the names and digests of those of ``FILES`` that a record folder has."""
    return joined(digests(*(path for name in FILES if (path := folder / name).exists())))


def face_digests(folders: Iterable[Path]) -> dict[str, str]:
    """Digests that decide which faces folders of training faces have.

    Returns:
        Of a folder with a manifest, that of its records by the folder's name; of a record folder
        without one, those of ``FILES`` by their names.

    Raises:
        ManifestError: As :func:`~lh2face.data.manifest.read_manifest`.
    """
    found: dict[str, str] = {}
    for folder in folders:
        if (folder / MANIFEST).exists():
            found[folder.name] = read_manifest(folder).digest
        else:
            found |= digests(*(folder / name for name in FILES))
    return found


def _check_size(reader: RecordReader, key: int, known: Property | None) -> None:
    """See that the first image is what the folder says, and can be an aligned face."""
    where = f"{reader.path}: key {key}"
    height, width = decode_rgb(reader[key][1], None, where).shape[:2]
    if known is not None and known.height is not None and (height, width) != known[1:]:
        raise RecordError(
            f"{where}: an image of {width} × {height} px; property has {known.width} × "
            f"{known.height} px"
        )
    if height != width:
        raise RecordError(f"{where}: an image of {width} × {height} px; aligned faces are square")
