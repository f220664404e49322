"""Stage ``align``: every face at 112 × 112 by its five landmarks."""

import csv
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lh2face.artifacts.outputs import atomic_dirs
from lh2face.data.align import estimate_norm, norm_crop
from lh2face.data.ijb_meta import read_meta
from lh2face.data.recordio import RecordReader, RecordWriter, identity, image_keys
from lh2face.data.verification_bin import write_bin
from lh2face.progress import track

if TYPE_CHECKING:
    from lh2face.stages.params import Params

SIZE = 112
JPEG_QUALITY = 95
BLOCK = 1024


class AlignError(ValueError):
    """A face of the benchmark that cannot be aligned; the message names the file."""


def run(params: "Params", raw: Path, out: Path) -> None:
    """Write aligned ``train/`` and ``benchmark/``.

    A training image that cannot be decoded is left out and listed in ``train/failures.csv``; a
    benchmark must be whole.

    Args:
        params: The parameters; ``workers`` is read.
        raw: Folder written by stage ``data``.
        out: Folder to write.

    Raises:
        AlignError: If a benchmark image cannot be decoded, or every training image fails.
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
    keys = image_keys(reader)
    landmarks = np.load(raw / "landmarks.npy", allow_pickle=False)
    shutil.copyfile(raw / "images.csv", out / "images.csv")
    failures = []
    with RecordWriter(out / "train.rec") as writer:
        writer.write(0, b"", [float(keys[-1] + 1)] * 2)
        jobs = ((reader[key][1], landmarks[i]) for i, key in enumerate(keys))
        for key, crop in zip(keys, crops(jobs, len(keys), pool, "training faces"), strict=True):
            if crop is None:
                failures.append(key)
            else:
                writer.write(key, crop, identity(reader[key][0]))
    if len(failures) == len(keys):
        raise AlignError(f"{raw / 'train.rec'}: none of its {len(keys)} images can be decoded")
    classes = (raw / "property").read_text().split(",")[0]
    (out / "property").write_text(f"{classes},{SIZE},{SIZE}\n")
    with (out / "failures.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("key", "reason"), *((k, "not an image") for k in failures)])
    if failures:
        print(f"{raw / 'train.rec'}: left out {len(failures)} of {len(keys)} images")


def align_benchmark(raw: Path, out: Path, pool: ThreadPoolExecutor) -> None:
    """The benchmark's faces in the order of its meta files, its verification bins, its truth."""
    (out / "bins").mkdir(parents=True)
    meta = read_meta(raw, "bench")
    paths = [raw / "loose_crop" / name for name in meta.names]
    jobs = ((path.read_bytes(), points) for path, points in zip(paths, meta.landmarks, strict=True))
    faces = {}
    with RecordWriter(out / "faces.rec") as writer:
        aligned = crops(jobs, len(paths), pool, "benchmark faces")
        for key, (path, crop) in enumerate(zip(paths, aligned, strict=True), start=1):
            if crop is None:
                raise AlignError(f"{path}: not an image OpenCV can decode")
            faces[path.name] = crop
            writer.write(key, crop, 0)
    for path in sorted((raw / "pairs").glob("*.csv")):
        with path.open(newline="") as file:
            pairs = list(csv.DictReader(file))
        try:
            images = [faces[pair[side]] for pair in pairs for side in ("first", "second")]
        except KeyError as error:
            raise AlignError(f"{path}: there is no image {error.args[0]}") from None
        write_bin(
            out / "bins" / f"{path.stem}.bin", images, [pair["same"] == "1" for pair in pairs]
        )
    if (raw / "truth.npz").exists():
        align_truth(raw / "truth.npz", meta.landmarks, out / "truth.npz")


def align_truth(raw: Path, landmarks: np.ndarray, out: Path) -> None:
    """True depth in the aligned crops."""
    truth = np.load(raw, allow_pickle=False)
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
    jobs: Iterator[tuple[bytes, np.ndarray]], total: int, pool: ThreadPoolExecutor, what: str
) -> Iterator[bytes | None]:
    """Aligned crops of encoded images, in order; None for one that cannot be decoded."""
    blocks = (
        pool.map(lambda job: crop(*job), list(islice(jobs, BLOCK))) for _ in range(0, total, BLOCK)
    )
    yield from track(chain.from_iterable(blocks), f"aligning {what}", total)


def crop(encoded: bytes, landmarks: np.ndarray) -> bytes | None:
    """The aligned face as JPEG; None if the image cannot be decoded."""
    pixels = np.frombuffer(encoded, np.uint8)
    image = cv2.imdecode(pixels, cv2.IMREAD_COLOR) if pixels.size else None
    if image is None:
        return None
    face = norm_crop(image, landmarks, SIZE)
    return cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
