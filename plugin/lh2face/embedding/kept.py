"""Embeddings kept in a folder block by block, so that a run that was interrupted goes on."""

import hashlib
import json
import os
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from lh2face.data.align import TEMPLATE_SIZE
from lh2face.embedding.embedders import Embedder, check_finite
from lh2face.files.arrays import read_array
from lh2face.files.json_object import read_object
from lh2face.files.outputs import atomic_file
from lh2face.progress import progress

RECORD, EMBEDDINGS = "progress.json", "embeddings.npy"
BLOCK = 512
ADVICE = "move it away or choose another output"


class KeptError(ValueError):
    """A folder whose embeddings are not those asked for; the message names it."""


class Faces(Protocol):
    """Faces to embed, N of them.

    Attributes:
        name: What they are, for messages.
    """

    name: str

    def digest(self, rows: range) -> str:
        """What tells these faces from others, by their files."""

    def read(self, rows: range) -> tuple[str, np.ndarray]:
        """The same, and their pixels ``(n, 112, 112, 3)`` uint8 RGB."""

    def where(self, row: int) -> str:
        """Where a face is, for messages."""


@dataclass
class Record:
    """What a command has written into its folder: all that it may replace there.

    Attributes:
        command: What wrote it.
        files: Names of the files that are the command's own.
        embeddings: What the kept embeddings were made from: model, version, number of faces.
        blocks: Of every block that is kept, digests of its images with names and landmarks, and of
            its embeddings.
    """

    command: str
    files: list[str] = field(default_factory=list)
    embeddings: dict[str, str | int] = field(default_factory=dict)
    blocks: list[list[str]] = field(default_factory=list)

    def write(self, out: Path) -> None:
        """Put it into the folder."""
        with atomic_file(out / RECORD) as file:
            file.write_text(json.dumps(asdict(self)), encoding="utf-8")


def claim(out: Path, names: list[str], command: str) -> Record:
    """The record of a folder, which from now on may hold files of these names.

    Args:
        out: The folder.
        names: Names of files.
        command: What writes them.

    Raises:
        ValueError: If one of them, or a record, is there and is not the command's own.
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
                and all(len(block) == 2 for block in record.blocks)
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
    """Embeddings ``(n, 2, d)`` of some faces, from the folder as far as it holds them.

    What it holds is used only if the faces and the embeddings are those of the record, for which
    the files of the faces are read again.

    Args:
        faces: All faces.
        rows: Which of them; it begins at a multiple of the embedder's batch, or bits may differ.
        embedder: From a block of aligned faces to embeddings.
        model: What tells this model from others.
        out: Folder for ``embeddings.npy`` and the record.
        record: As :func:`claim` returns it; kept up to date.

    Raises:
        KeptError: If the folder holds embeddings of something else.
        ValueError: If a face cannot be read, or an embedding is not finite.
    """
    if not rows:
        return embedder(np.zeros((1, TEMPLATE_SIZE, TEMPLATE_SIZE, 3), np.uint8))[:0]
    path = out / EMBEDDINGS
    made = {
        "model": model, "lh2face": version("lh2face"), "faces": len(rows), "first": rows.start,
        "block": BLOCK,
    }  # fmt: skip
    if record.blocks and record.embeddings != made:
        raise KeptError(f"{out}: holds embeddings of another model or list")
    record.embeddings = made
    embeddings = read_array(path, "r+") if record.blocks else None
    if embeddings is not None and (embeddings.ndim != 3 or len(embeddings) != len(rows)):
        raise KeptError(f"{path}: changed since {record.command} wrote it")
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    with closing(progress(f"embedding {faces.name}", len(rows))) as shown:
        for at, block in enumerate(blocks):
            place = slice(block.start - rows.start, block.stop - rows.start)
            if at < len(record.blocks):
                inputs, kept = record.blocks[at]
                if faces.digest(block) != inputs:
                    raise KeptError(
                        f"{out}: holds embeddings of other faces, somewhere in {block.start + 1} "
                        f"to {block.stop} of {faces.name}"
                    )
                if sha256(embeddings[place].tobytes()) != kept:
                    raise KeptError(f"{path}: changed since {record.command} wrote it")
            else:
                inputs, pixels = faces.read(block)
                found = embedder(pixels)
                check_finite(found, [faces.where(row) for row in block])
                if embeddings is None:
                    shape = (len(rows), *found.shape[1:])
                    embeddings = np.lib.format.open_memmap(path, "w+", np.float32, shape)
                embeddings[place] = found
                embeddings.flush()
                record.blocks.append([inputs, sha256(embeddings[place].tobytes())])
                record.write(out)
            shown.advance(len(block))
    return embeddings


def sha256(*parts: bytes) -> str:
    """SHA-256 of parts, none of which can pass for a part of another."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
