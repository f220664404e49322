"""Stage ``align``: every face at 112 × 112 by its five landmarks."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lh2face.artifacts.outputs import atomic_dirs
from lh2face.data.align import check_landmarks, estimate_norm, norm_crop
from lh2face.data.arrays import read_array, read_arrays
from lh2face.data.csv_files import PAIR_LIST, read_rows, write_rows
from lh2face.data.ijb_meta import read_meta
from lh2face.data.images import ImageError, decode_rgb, encode_jpeg, read_file
from lh2face.data.recordio import RecordReader, RecordWriter, identity, image_keys
from lh2face.data.verification_bin import write_bin
from lh2face.progress import track

if TYPE_CHECKING:
    from lh2face.stages.params import Params

SIZE = 112
# Photos read ahead of the threads; one may have many megabytes.
BLOCK = 128


class AlignError(ValueError):
    """Faces that cannot be aligned; the message names the file."""


def run(params: "Params", raw: Path, out: Path) -> None:
    """Write aligned ``train/`` and ``benchmark/``.

    A training image that cannot be decoded, or whose landmarks are no face's, is left out and
    listed in ``train/failures.csv``; a benchmark must be whole.

    Args:
        params: The parameters; ``workers`` is read.
        raw: Folder written by stage ``data``.
        out: Folder to write.

    Raises:
        AlignError: If every training image fails, or records, ``images.csv`` and landmarks do not
            belong together.
        ImageError: If a benchmark image cannot be decoded, or its landmarks are no face's.
    """
    # OpenCV releases Python's lock, so threads are enough.
    parts = ["train", "benchmark"]
    with atomic_dirs(out, parts, [raw]) as folder, ThreadPoolExecutor(params.workers) as pool:
        align_train(raw / "train", folder / "train", pool)
        align_benchmark(raw / "benchmark", folder / "benchmark", pool)


def align_train(raw: Path, out: Path, pool: ThreadPoolExecutor) -> None:
    """Aligned training records, with the keys and identities of the raw ones."""
    out.mkdir()
    reader = RecordReader(raw / "train.rec")
    keys = list(map(int, image_keys(reader)))
    landmarks = read_landmarks(raw, keys)
    shutil.copyfile(raw / "images.csv", out / "images.csv")
    failures = []
    with RecordWriter(out / "train.rec") as writer:
        writer.write(0, b"", [float(keys[-1] + 1)] * 2)
        jobs = (
            (f"{reader.path}: key {key}", reader[key][1], points)
            for key, points in zip(keys, landmarks, strict=True)
        )
        for key, crop in zip(keys, crops(jobs, len(keys), pool, "training faces"), strict=True):
            if isinstance(crop, ImageError):
                failures.append((key, crop.reason))
            else:
                writer.write(key, crop, identity(reader[key][0]))
    if len(failures) == len(keys):
        raise AlignError(
            f"{reader.path}: none of its {len(keys)} images can be used; key {keys[0]}: "
            f"{failures[0][1]}"
        )
    classes = (raw / "property").read_text("utf-8", errors="replace").split(",")[0]
    (out / "property").write_text(f"{classes},{SIZE},{SIZE}\n", "utf-8")
    write_rows(out / "failures.csv", ("key", "reason"), failures)
    if failures:
        print(f"{reader.path}: left out {len(failures)} of {len(keys)} images")


def read_landmarks(raw: Path, keys: list[int]) -> np.ndarray:
    """Landmarks of the images with these keys.

    ``landmarks.npy`` has the order of ``images.csv``, which names the keys.

    Returns:
        ``(len(keys), 5, 2)`` float, px.

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


def align_benchmark(raw: Path, out: Path, pool: ThreadPoolExecutor) -> None:
    """The benchmark's faces in the order of its meta files, its verification bins, its truth."""
    (out / "bins").mkdir(parents=True)
    meta = read_meta(raw, "bench")
    paths = [raw / "loose_crop" / name for name in meta.names]
    jobs = (
        (str(path), read_file(path), points)
        for path, points in zip(paths, meta.landmarks, strict=True)
    )
    faces = {}
    with RecordWriter(out / "faces.rec") as writer:
        aligned = crops(jobs, len(paths), pool, "benchmark faces")
        for key, (path, crop) in enumerate(zip(paths, aligned, strict=True), start=1):
            if isinstance(crop, ImageError):
                raise crop
            faces[path.name] = crop
            writer.write(key, crop, 0)
    for path in sorted((raw / "pairs").glob("*.csv")):
        pairs = read_rows(path, PAIR_LIST)
        try:
            images = [faces[pair[side]] for pair in pairs for side in ("first", "second")]
        except KeyError as error:
            raise AlignError(f"{path}: there is no image {error.args[0]}") from None
        write_bin(out / "bins" / f"{path.stem}.bin", images, [pair["same"] for pair in pairs])
    if (raw / "truth.npz").exists():
        align_truth(raw / "truth.npz", meta.landmarks, out / "truth.npz")


def align_truth(raw: Path, landmarks: np.ndarray, out: Path) -> None:
    """True depth in the aligned crops."""
    truth = read_arrays(raw, "index", "depth")
    aligned = [
        aligned_depth(depth.astype(np.float32), landmarks[row])
        for row, depth in zip(truth["index"], truth["depth"], strict=True)
    ]
    depths, masks = map(np.stack, zip(*aligned, strict=True))
    np.savez(out, index=truth["index"], depth=depths, mask=masks)


def aligned_depth(depth: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True depth ``(S, S)``, NaN where there is none, as seen in the aligned crop; and where.

    The crop is a view of a camera with the same field of view, so lengths grow with the zoom of
    the crop, and relief with them: ``z = 1 + (z_raw − 1) · zoom``.
    """
    zoom = np.hypot(*estimate_norm(landmarks, SIZE)[:, 0]) * (len(depth) - 1) / (SIZE - 1)
    known = np.isfinite(depth)
    relief = norm_crop(np.where(known, depth - 1, 0), landmarks)
    cover = norm_crop(known.astype(np.float32), landmarks)
    return 1 + zoom * relief / cover.clip(0.5), cover > 0.99


def crops(
    jobs: Iterator[tuple[str, bytes, np.ndarray]], total: int, pool: ThreadPoolExecutor, what: str
) -> Iterator[bytes | ImageError]:
    """As :func:`crop` of each job, in order."""
    blocks = (
        pool.map(lambda job: crop(*job), list(islice(jobs, BLOCK))) for _ in range(0, total, BLOCK)
    )
    yield from track(chain.from_iterable(blocks), f"aligning {what}", total)


def crop(source: str, encoded: bytes, landmarks: np.ndarray) -> bytes | ImageError:
    """The aligned face as JPEG; or why there is none."""
    try:
        image = decode_rgb(encoded, None, source)
        check_landmarks(landmarks, *image.shape[:2])
    except ImageError as error:
        return error
    except ValueError as error:
        return ImageError(source, str(error))
    return encode_jpeg(norm_crop(image, landmarks, SIZE))
