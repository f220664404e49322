"""What a folder of training faces says of itself: ``manifest.json``.

The faces are records in the folder itself, or somewhere else: a record file of 100 GB is read where
it lies. A folder with several such folders in it is trained on as one, see :func:`face_folders`.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from lh2face.files.json_object import read_object

MANIFEST = "manifest.json"
COUNTS = ("origin", "images", "identities", "left_out")
Origin = Literal["synthetic", "photos"]
# Of a record folder without a manifest.
UNKNOWN = "of unknown origin"


class ManifestError(ValueError):
    """A folder that holds no training faces, or a manifest that is wrong; the message names it."""


@dataclass(frozen=True)
class Manifest:
    """What is known of a folder of training faces.

    Attributes:
        origin: How the faces were made.
        records: Folder with ``train.rec``: ``.`` for the manifest's own, or a path as the user
            wrote it, relative to the working directory.
        aligned: The faces are aligned crops; else ``landmarks.npy`` and ``images.csv`` say where
            they are in the images.
        images: Number of images, > 0.
        identities: Number of classes, > 0: labels are 0 … identities − 1.
        left_out: Number of images, and of people, that could not be used.
        layout: What the record file was found to hold, in words.
        digest: Of the record folder's files, from :func:`~lh2face.data.records.records_digest`.
    """

    origin: Origin
    records: str
    aligned: bool
    images: int
    identities: int
    left_out: int
    layout: str
    digest: str


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder."""
    text = json.dumps(asdict(manifest), indent=2)
    (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The ``manifest.json`` of a folder.

    Raises:
        ManifestError: If it is missing or no JSON object, a key is missing or unknown, or a value
            is not what :class:`Manifest` allows.
    """
    path = folder / MANIFEST
    try:
        found = read_object(path, "a folder of training faces")
    except ValueError as error:
        raise ManifestError(str(error)) from None
    hints = get_type_hints(Manifest)
    for key in [*hints, *found]:
        if key not in found:
            raise ManifestError(f"{path}: {key}: missing")
        if key not in hints:
            raise ManifestError(f"{path}: {key!r:.80}: unknown; allowed are {', '.join(hints)}")
        if expected := _expected(key, found[key], hints[key]):
            raise ManifestError(f"{path}: {key}: expected {expected}, found {found[key]!r:.80}")
    return Manifest(**found)


def records_of(folder: Path, manifest: Manifest) -> Path:
    """Where the records of a folder with a manifest lie."""
    return folder if manifest.records == "." else Path(manifest.records)


def face_folders(root: Path, names: Iterable[str] | None = None) -> list[Path]:
    """The folders of training faces that a folder stands for.

    Args:
        root: The folder.
        names: Which of the folders in it; ``None`` for all. Where the folder itself has faces they
            are not looked at.

    Returns:
        The folder itself, where it has ``manifest.json`` or ``train.rec``; else those in it that
        have a manifest, in the order of their names.

    Raises:
        ManifestError: If there is no such folder, or none in it; or if a folder in it, one that is
            named or of which the name does not begin with a point, has no manifest.
    """
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder; expected one with training faces")
    if (root / MANIFEST).exists() or (root / "train.rec").exists():
        return [root]
    if names is None:
        names = [p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    inside = [root / name for name in sorted(names)]
    if not inside:
        raise ManifestError(
            f"{root}: expected train.rec, {MANIFEST}, or folders with a {MANIFEST} in it"
        )
    for folder in inside:
        if not (folder / MANIFEST).exists():
            raise ManifestError(f"{folder}: there is no {MANIFEST} in it, and no train.rec beside")
    return inside


def origin_of(folders: Iterable[Path]) -> str:
    """How the faces in folders were made: an origin, several, or that none is known.

    Raises:
        ManifestError: As :func:`read_manifest`.
    """
    known = [folder for folder in folders if (folder / MANIFEST).exists()]
    origins = sorted({read_manifest(folder).origin for folder in known})
    if not origins:
        return UNKNOWN
    return origins[0] if len(origins) == 1 else f"mixed: {' and '.join(origins)}"


def counts_of(folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Of each folder of training faces what its manifest counts.

    Returns:
        ``origin``, ``images``, ``identities`` and ``left_out`` by the folder's name; nothing of a
        record folder without a manifest.

    Raises:
        ManifestError: As :func:`read_manifest`.
    """
    found = {
        folder.name: asdict(read_manifest(folder))
        for folder in folders
        if (folder / MANIFEST).exists()
    }
    return {name: {key: one[key] for key in COUNTS} for name, one in found.items()}


def _expected(key: str, value: Any, hint: Any) -> str:
    """What a key's value should be; nothing where it is that."""
    least = {"images": 1, "identities": 1, "left_out": 0}
    if choices := get_args(hint):
        return "" if value in choices and isinstance(value, str) else " or ".join(choices)
    # A bool is an int for isinstance.
    if type(value) is not hint:
        return {str: "text", bool: "true or false", int: "a whole number"}[hint]
    if key in least and value < least[key]:
        return f"at least {least[key]}"
    if key == "digest" and not re.fullmatch("[0-9a-f]{64}", value):
        return "64 hexadecimal digits"
    return "" if key != "records" or value else "a folder"
