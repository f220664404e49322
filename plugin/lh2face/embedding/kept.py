"""Embeddings that are stored in a folder block by block, so an interrupted run can resume."""

import hashlib
import json
import os
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from lh2face.artifacts.embeddings import EMBEDDINGS
from lh2face.data.align import TEMPLATE_SIZE
from lh2face.embedding.embedders import Embedder, check_finite
from lh2face.files.arrays import read_array
from lh2face.files.json_object import read_object
from lh2face.files.outputs import atomic_file
from lh2face.progress import progress

RECORD = "progress.json"
BLOCK = 512
ADVICE = "move it away or choose another output"


class KeptError(ValueError):
    """The embeddings in a folder are not the requested ones; the message names the folder."""


class Faces(Protocol):
    """Interface of N faces to embed.

    Attributes:
        name: Name of the faces, for messages.
    """

    name: str

    def digest(self, rows: range) -> str:
        """Compute the digest of some faces from their files, without decoding them."""

    def read(self, rows: range) -> tuple[str, np.ndarray, int]:
        """Read some faces.

        Returns:
            The digest as from :meth:`digest`, the pixels ``(n, 112, 112, 3)`` uint8 RGB, and the
            number of photos in which a detector found no face.
        """

    def where(self, row: int) -> str:
        """Return where a face is, for messages."""


@dataclass
class Record:
    """Record of the files that a command has written to a folder, and so may replace.

    Attributes:
        command: Name of the command.
        files: Names of the command's files.
        embeddings: All that determines the stored embeddings: model, package version, range of
            faces and block size.
        blocks: For each stored block, the digest of its faces, that of its embeddings, and the
            number of photos in which a detector found no face.
    """

    command: str
    files: list[str] = field(default_factory=list)
    embeddings: dict[str, str | int] = field(default_factory=dict)
    blocks: list[tuple[str, str, int]] = field(default_factory=list)

    def write(self, out: Path) -> None:
        """Write the record to a folder."""
        with atomic_file(out / RECORD) as file:
            file.write_text(json.dumps(asdict(self)), encoding="utf-8")


def claim(out: Path, names: list[str], command: str) -> Record:
    """Reserve file names in a folder for a command.

    Args:
        out: The folder.
        names: Names of the files that the command will write.
        command: Name of the command.

    Returns:
        The folder's record: that of an earlier run, or a new one.

    Raises:
        ValueError: If one of the files, or a record, exists and was not written by the command.
    """
    path, record = out / RECORD, Record(command)
    if os.path.lexists(path):
        found = read_object(path, f"the record of {command}")
        try:
            whole = found.keys() == asdict(record).keys()
            record = Record(**found)
            whole = (
                whole
                and record.command == command
                and isinstance(record.files, list)
                and all(isinstance(name, str) for name in record.files)
                and all(
                    isinstance(block, list) and len(block) == 3 and isinstance(block[2], int)
                    for block in record.blocks
                )
            )
        except (AttributeError, TypeError):
            whole = False
        if not whole:
            raise ValueError(f"{path}: not written by {command}; {ADVICE}")
    for name in names:
        if os.path.lexists(out / name) and name not in record.files:
            raise ValueError(f"{out / name}: not written by {command}; {ADVICE}")
    record.files = sorted({*record.files, *names})
    record.write(out)
    return record


def embed_faces(
    faces: Faces, rows: range, embedder: Embedder, model: str, out: Path, record: Record
) -> np.ndarray:
    """Embed some faces, except for blocks whose embeddings are already in the folder.

    A stored block is only used if the digests of its faces and embeddings agree with the record;
    for this, the files of its faces are read again.

    Args:
        faces: All faces.
        rows: Rows of the faces to embed. If the first one is not a multiple of the embedder's batch
            size, the last bits may differ from those of a run over all faces.
        embedder: Function from aligned faces to embeddings.
        model: Identifies the model, such as its digest.
        out: Folder for ``embeddings.npy`` and the record.
        record: The record from :func:`claim`; it is updated after each block.

    Returns:
        ``(n, 2, d)`` float32.

    Raises:
        KeptError: If the folder holds embeddings of other faces or another model, or they changed.
        ValueError: If a face cannot be read, or an embedding is not finite.
    """
    if not rows:
        return embedder(np.zeros((1, TEMPLATE_SIZE, TEMPLATE_SIZE, 3), np.uint8))[:0]
    path = out / EMBEDDINGS
    made: dict[str, str | int] = {
        "model": model, "lh2face": version("lh2face"), "faces": len(rows), "first": rows.start,
        "block": BLOCK,
    }  # fmt: skip
    if record.blocks and record.embeddings != made:
        raise KeptError(f"{out}: holds embeddings of another model or list")
    record.embeddings = made
    embeddings = cast(np.memmap, read_array(path, "r+")) if record.blocks else None
    if embeddings is not None and (embeddings.ndim != 3 or len(embeddings) != len(rows)):
        raise KeptError(f"{path}: changed since {record.command} wrote it")
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    with closing(progress(f"embedding {faces.name}", len(rows))) as shown:
        for at, block in enumerate(blocks):
            place = slice(block.start - rows.start, block.stop - rows.start)
            if at < len(record.blocks):
                inputs, kept, _ = record.blocks[at]
                if faces.digest(block) != inputs:
                    raise KeptError(
                        f"{out}: holds embeddings of other faces, somewhere in {block.start + 1} "
                        f"to {block.stop} of {faces.name}"
                    )
                if embeddings is None or sha256(embeddings[place].tobytes()) != kept:
                    raise KeptError(f"{path}: changed since {record.command} wrote it")
            else:
                inputs, pixels, missed = faces.read(block)
                found = embedder(pixels)
                check_finite(found, [faces.where(row) for row in block])
                if embeddings is None:
                    shape = (len(rows), *found.shape[1:])
                    embeddings = np.lib.format.open_memmap(path, "w+", np.float32, shape)
                embeddings[place] = found
                embeddings.flush()
                record.blocks.append((inputs, sha256(embeddings[place].tobytes()), missed))
                record.write(out)
            shown.advance(len(block))
    return cast(np.ndarray, embeddings)  # there is at least one block


def sha256(*parts: bytes) -> str:
    """Compute the SHA-256 of the parts' digests, so that moving bytes between parts changes it."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
