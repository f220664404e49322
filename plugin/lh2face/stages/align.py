"""Stage ``align``: crop the faces of a training source to 112 × 112 px by their landmarks."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lh2face.data.align import ALIGNED_LANDMARKS, TEMPLATE_SIZE, aligned_landmarks
from lh2face.data.crops import crops
from lh2face.data.images import ImageError, encode_jpeg
from lh2face.data.manifest import read_manifest, records_of, write_manifest
from lh2face.data.recordio import (
    RecordReader,
    RecordWriter,
    identity,
    image_keys,
    record_layout,
)
from lh2face.data.records import records_digest
from lh2face.files.arrays import read_array
from lh2face.files.outputs import atomic_dir
from lh2face.files.tables import read_rows, write_rows

if TYPE_CHECKING:
    from lh2face.params import Params


class AlignError(ValueError):
    """The faces of a source cannot be aligned; the message names the file."""


def run(params: "Params", raw: Path, out: Path) -> None:
    """Write the aligned faces of a training source.

    Faces that are already aligned stay where they are: only a manifest is written, which names
    their folder. An image that cannot be decoded, or whose landmarks cannot belong to a face, is
    left out and listed in ``failures.csv``.

    Args:
        params: The parameters; ``workers`` is read.
        raw: Folder written by stage ``data``.
        out: Folder to write.

    Raises:
        AlignError: If every image fails, or records, ``images.csv`` and landmarks do not fit
            together.
    """
    manifest = read_manifest(raw)
    with atomic_dir(out, [raw]) as folder:
        if manifest.aligned:
            write_manifest(folder, replace(manifest, records=str(records_of(raw, manifest))))
            return
        failed = align_train(raw, folder, params.workers)
        write_manifest(
            folder,
            replace(
                manifest, aligned=True, images=manifest.images - failed,
                left_out=manifest.left_out + failed,
                layout=str(record_layout(RecordReader(folder / "train.rec"))),
                digest=records_digest(folder),
            ),
        )  # fmt: skip


def align_train(raw: Path, out: Path, workers: int) -> int:
    """Write aligned training records with the keys and identities of the raw ones.

    The landmarks in the aligned crops are written too.

    Args:
        raw: Folder written by stage ``data``.
        out: Folder to write into.
        workers: Number of threads.

    Returns:
        Number of images that were left out.
    """
    reader = RecordReader(raw / "train.rec")
    keys = list(map(int, image_keys(reader)))
    landmarks = read_landmarks(raw, keys)
    failures, kept = [], np.empty((len(keys), 5, 2), np.float32)
    with RecordWriter(out / "train.rec") as writer:
        writer.write(0, b"", [float(keys[-1] + 1)] * 2)
        jobs = (
            (reader[key][1], points, f"{reader.path}: key {key}")
            for key, points in zip(keys, landmarks, strict=True)
        )
        aligned = crops(jobs, len(keys), workers, encode_jpeg, f"{raw}")
        for row, (key, crop) in enumerate(zip(keys, aligned, strict=True)):
            if isinstance(crop, ImageError):
                failures.append((key, crop.reason))
            else:
                kept[row - len(failures)] = aligned_landmarks(landmarks[row])
                writer.write(key, crop, identity(reader[key][0]))
    if len(failures) == len(keys):
        raise AlignError(
            f"{reader.path}: none of its {len(keys)} images can be used; key {keys[0]}: "
            f"{failures[0][1]}"
        )
    classes = (raw / "property").read_text("utf-8", errors="replace").split(",")[0]
    (out / "property").write_text(f"{classes},{TEMPLATE_SIZE},{TEMPLATE_SIZE}\n", "utf-8")
    np.save(out / ALIGNED_LANDMARKS, kept[: len(keys) - len(failures)])
    write_rows(out / "failures.csv", ("key", "reason"), failures)
    if failures:
        print(f"{reader.path}: left out {len(failures)} of {len(keys)}, listed in failures.csv")
    return len(failures)


def read_landmarks(raw: Path, keys: list[int]) -> np.ndarray:
    """Read the landmarks of the images with these keys.

    ``landmarks.npy`` has the order of ``images.csv``, which lists the keys.

    Args:
        raw: Folder written by stage ``data``.
        keys: Keys of the records.

    Returns:
        ``(len(keys), 5, 2)`` float, in px.

    Raises:
        AlignError: If a file cannot be read, or the files differ in number or keys.
    """
    path = raw / "landmarks.npy"
    landmarks, table = read_array(path), raw / "images.csv"
    rows: dict[int, int] = {}
    for position, row in enumerate(read_rows(table, {"key": int})):
        if rows.setdefault(row["key"], position) != position:
            raise AlignError(f"{table}: names key {row['key']} twice")
    if not rows:
        raise AlignError(f"{table}: names no image")
    if landmarks.shape != (len(rows), 5, 2) or landmarks.dtype.kind != "f":
        raise AlignError(
            f"{path}: expected floats {(len(rows), 5, 2)} for the keys of {table.name}, found "
            f"{landmarks.dtype} {landmarks.shape}"
        )
    differ = sorted(rows.keys() ^ keys)
    if differ:
        raise AlignError(
            f"{raw / 'train.idx'}: {len(keys)} images, {table.name} has {len(rows)}; the first key "
            f"in only one of them is {differ[0]}"
        )
    return np.asarray(landmarks)[[rows[key] for key in keys]]
