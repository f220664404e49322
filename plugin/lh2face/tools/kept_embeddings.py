"""The embeddings that ``lh2face evaluate-ijb`` keeps in its folder, block by block."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lh2face.artifacts.json_object import read_object
from lh2face.artifacts.outputs import atomic_file
from lh2face.data.align import check_landmarks, norm_crop
from lh2face.data.arrays import read_array
from lh2face.data.ijb_meta import IJBMeta, faces_path, image_paths
from lh2face.data.images import decode_rgb, read_file
from lh2face.evaluation.checks import EvaluationError
from lh2face.progress import progress
from lh2face.tools.embedders import Embedder, check_finite

COMMAND = "lh2face evaluate-ijb"
RECORD, EMBEDDINGS = "progress.json", "embeddings.npy"
BLOCK = 512


@dataclass
class Record:
    """What the command has written into its folder: all that it may replace there.

    Attributes:
        command: What wrote it.
        files: Names of the files that are the command's own.
        embeddings: What the kept embeddings were made from: model, version, number of faces.
        blocks: Of every block that is kept, digests of its images with names and landmarks, and of
            its embeddings.
    """

    command: str = COMMAND
    files: list[str] = field(default_factory=list)
    embeddings: dict[str, str | int] = field(default_factory=dict)
    blocks: list[list[str]] = field(default_factory=list)

    def write(self, out: Path) -> None:
        """Put it into the folder."""
        with atomic_file(out / RECORD) as file:
            file.write_text(json.dumps(asdict(self)), encoding="utf-8")


def claim(out: Path, names: list[str]) -> Record:
    """The record of a folder, which from now on may hold files of these names.

    Raises:
        ValueError: If one of them, or a record, is there and is not the command's own.
    """
    path, record = out / RECORD, Record()
    if os.path.lexists(path):
        found = read_object(path, f"the record of {COMMAND}")
        try:
            whole = found.keys() == asdict(record).keys()
            record = Record(**found)
            whole = (
                whole
                and record.command == COMMAND
                and isinstance(record.files, list)
                and all(isinstance(name, str) for name in record.files)
                and all(len(block) == 2 for block in record.blocks)
            )
        except (AttributeError, TypeError):
            whole = False
        if not whole:
            raise ValueError(f"{path}: not written by {COMMAND}; use another --out")
    for name in names:
        if os.path.lexists(out / name) and name not in record.files:
            raise ValueError(f"{out / name}: not written by {COMMAND}; use another --out")
    record.files = sorted({*record.files, *names})
    record.write(out)
    return record


def embed_faces(
    root: Path, lists: str, meta: IJBMeta, embedder: Embedder, model: str, out: Path,
    record: Record, workers: int, check: bool = True,
) -> np.ndarray:  # fmt: skip
    """Embeddings ``(N, 2, d)`` of all faces, from the folder as far as it holds them.

    What it holds is used only if names, landmarks, bytes of the images and embeddings are those of
    the record, for which the images are read again.

    Args:
        root: Folder with ``loose_crop``.
        lists: Prefix of the meta files.
        meta: The lists.
        embedder: From a block of aligned faces to embeddings.
        model: What tells this model from others.
        out: Folder for ``embeddings.npy`` and the record.
        record: As :func:`claim` returns it; kept up to date.
        workers: Threads that read and align.
        check: Refuse landmarks that cannot be those of a face.

    Raises:
        ValueError: If an image is missing or cannot be decoded, landmarks are not those of a face,
            an embedding is not finite, or the folder holds embeddings of something else.
    """
    paths, path = image_paths(root, lists, meta.names), out / EMBEDDINGS
    listed = faces_path(root, lists)
    lines = [f"{listed}:{line}" for line in range(1, len(paths) + 1)]
    made = {"model": model, "lh2face": version("lh2face"), "faces": len(paths), "block": BLOCK}
    if record.blocks and record.embeddings != made:
        raise ValueError(f"{out}: holds embeddings of another model or list; use another --out")
    record.embeddings = made
    embeddings = read_array(path, "r+") if record.blocks else None
    if embeddings is not None and (embeddings.ndim != 3 or len(embeddings) != len(paths)):
        raise ValueError(f"{path}: changed since {COMMAND} wrote it; use another --out")
    blocks = [slice(start, start + BLOCK) for start in range(0, len(paths), BLOCK)]
    names = [
        json.dumps([meta.names[rows], meta.landmarks[rows].tolist()]).encode() for rows in blocks
    ]
    shown = progress("embedding faces", len(paths))
    with ThreadPoolExecutor(workers) as pool, closing(shown):
        for rows, named, (inputs, kept) in zip(blocks, names, record.blocks, strict=False):
            if _sha(named, *pool.map(_file_digest, paths[rows])) != inputs:
                raise ValueError(
                    f"{out}: holds embeddings of other images or landmarks, somewhere in lines "
                    f"{rows.start + 1} to {rows.stop} of {listed}; use another --out"
                )
            if _sha(embeddings[rows].tobytes()) != kept:
                raise ValueError(f"{path}: changed since {COMMAND} wrote it; use another --out")
            shown.advance(len(paths[rows]))
        for rows, named in list(zip(blocks, names, strict=True))[len(record.blocks) :]:
            read = pool.map(
                partial(read_aligned, check=check), paths[rows], meta.landmarks[rows], lines[rows]
            )
            digests, faces = zip(*read, strict=True)
            block = embedder(np.stack(faces))
            check_finite(block, paths[rows])
            if embeddings is None:
                shape = (len(paths), *block.shape[1:])
                embeddings = np.lib.format.open_memmap(path, "w+", np.float32, shape)
            embeddings[rows] = block
            embeddings.flush()
            record.blocks.append([_sha(named, *digests), _sha(embeddings[rows].tobytes())])
            record.write(out)
            shown.advance(len(faces))
    return embeddings


def read_aligned(
    path: Path, landmarks: np.ndarray, line: str, check: bool = True
) -> tuple[bytes, np.ndarray]:
    """The digest of an image, and its face at 112 × 112, RGB.

    Raises:
        ImageError: If the image cannot be decoded.
        EvaluationError: If the landmarks, of that line of a list, are not those of a face in it.
    """
    encoded = read_file(path)
    image = decode_rgb(encoded, None, str(path))
    try:
        if check:
            check_landmarks(landmarks, *image.shape[:2])
        return hashlib.sha256(encoded).digest(), norm_crop(image, landmarks)
    except ValueError as error:
        raise EvaluationError(f"{line}: {path.name}: {error}") from None


def _file_digest(path: Path) -> bytes:
    return hashlib.sha256(read_file(path)).digest()


def _sha(*parts: bytes) -> str:
    """SHA-256 of parts, none of which can pass for a part of another."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
