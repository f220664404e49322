"""The description of a folder of training faces: ``manifest.json``.

The faces are records in that folder or, so that a large record file need not be copied, in another
one. Several such folders in one folder are trained on together, see :func:`face_folders`.
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
# Origin of the faces in a record folder without a manifest.
UNKNOWN = "of unknown origin"


class ManifestError(ValueError):
    """A folder has no training faces, or its manifest cannot be used; the message names it."""


@dataclass(frozen=True)
class Manifest:
    """Description of a folder of training faces.

    Attributes:
        origin: How the faces were made.
        records: Folder with ``train.rec``: ``.`` for the manifest's own folder, or else a path as
            the user wrote it, absolute or relative to the working directory.
        aligned: Whether the images are aligned crops. If not, ``landmarks.npy`` has the landmarks
            of the images listed in ``images.csv``.
        images: Number of images, ≥ 1.
        identities: Number of classes, ≥ 1; labels are 0 … identities − 1.
        left_out: Number of images and people that could not be used, ≥ 0.
        layout: Layout of the record file, in words.
        digest: Digest of the records, from :func:`~lh2face.data.records.records_digest`.
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
    """Read the ``manifest.json`` of a folder.

    Raises:
        ManifestError: If it is missing or not a JSON object, a key is missing or unknown, or a
            value is not what :class:`Manifest` allows.
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
    """Return the folder with the ``train.rec`` that the manifest of a folder describes."""
    return folder if manifest.records == "." else Path(manifest.records)


def face_folders(root: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Find the folders of training faces in a folder.

    Args:
        root: The folder.
        names: Names of the subfolders to use; ``None`` for all that are not hidden. They are
            ignored if ``root`` itself has faces.

    Returns:
        ``root`` itself, if it has ``manifest.json`` or ``train.rec``; otherwise its subfolders,
        sorted by name.

    Raises:
        ManifestError: If there is no such folder, it has no subfolder, or a subfolder to use has no
            manifest.
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
            raise ManifestError(
                f"{folder}: there is no {MANIFEST} in it, and no train.rec in {root}"
            )
    return inside


def origin_of(folders: Iterable[Path]) -> str:
    """Describe how the faces in folders were made: one origin, several, or an unknown one.

    Raises:
        ManifestError: If a manifest cannot be used.
    """
    known = [folder for folder in folders if (folder / MANIFEST).exists()]
    origins = sorted({read_manifest(folder).origin for folder in known})
    if not origins:
        return UNKNOWN
    return origins[0] if len(origins) == 1 else f"mixed: {' and '.join(origins)}"


def counts_of(folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Read the counts in the manifest of each folder of training faces.

    Returns:
        ``origin``, ``images``, ``identities`` and ``left_out`` by folder name. Folders without a
        manifest are missing.

    Raises:
        ManifestError: If a manifest cannot be used.
    """
    found = {
        folder.name: asdict(read_manifest(folder))
        for folder in folders
        if (folder / MANIFEST).exists()
    }
    return {name: {key: one[key] for key in COUNTS} for name, one in found.items()}


def _expected(key: str, value: Any, hint: Any) -> str:
    """Describe the value that a key should have; empty if the value is allowed."""
    least = {"images": 1, "identities": 1, "left_out": 0}
    if choices := get_args(hint):
        return "" if value in choices and isinstance(value, str) else " or ".join(choices)
    # Not isinstance: a bool is an instance of int.
    if type(value) is not hint:
        return {str: "text", bool: "true or false", int: "a whole number"}[hint]
    if key in least and value < least[key]:
        return f"at least {least[key]}"
    if key == "digest" and not re.fullmatch("[0-9a-f]{64}", value):
        return "64 hexadecimal digits"
    return "" if key != "records" or value else "a folder"
