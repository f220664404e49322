"""Stage ``align_benchmark``: crop each face of a benchmark to 112 × 112 px, without loss."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lh2face.data.align import TEMPLATE_SIZE, check_aligned, estimate_norm, norm_crop
from lh2face.data.benchmark import FACES, TRUTH, read_benchmark, write_benchmark
from lh2face.data.benchmarks.raw import RawBenchmark
from lh2face.data.crops import crops
from lh2face.data.images import ImageError, encode_png
from lh2face.data.recordio import RecordWriter
from lh2face.files.arrays import read_arrays
from lh2face.files.outputs import atomic_dir
from lh2face.progress import track

if TYPE_CHECKING:
    from lh2face.params import Params


def run(params: "Params", name: str, raw: Path, out: Path) -> None:
    """Write a benchmark's aligned faces and its lists (:mod:`lh2face.data.benchmark`).

    Args:
        params: The parameters; ``benchmarks``, ``validation`` and ``workers`` are read.
        name: A key of ``benchmarks`` or ``validation``.
        raw: Folder written by stage ``benchmark``.
        out: Folder to write.

    Raises:
        ImageError: If an image cannot be decoded, or its landmarks cannot belong to a face: a
            benchmark must be complete.
        ValueError: If there is no such benchmark, or its files cannot be used.
    """
    source = params.benchmark(name)
    benchmark = source.open(raw)
    with atomic_dir(out, [raw, Path(source.path)]) as folder:
        with RecordWriter(folder / FACES) as writer:
            for key, face in enumerate(aligned_faces(benchmark, params.workers, name), start=1):
                writer.write(key, face, 0)
        lists = benchmark.lists
        if lists and benchmark.copied:
            shutil.copytree(lists[0] / "meta", folder / "meta")
            lists = Path(), lists[1]
        write_benchmark(
            folder, benchmark.origin, benchmark.images, benchmark.pairs,
            lists and (str(lists[0]), lists[1]),
        )  # fmt: skip
        if benchmark.truth is not None:
            align_truth(benchmark.truth, benchmark.landmarks, folder / TRUTH)
        # The lists are checked now, before time is spent on embedding the faces.
        written = read_benchmark(folder)
        written.pairs  # noqa: B018
        # Lists that were not copied have just been read for the names; reading them is slow.
        if benchmark.copied:
            written.templates  # noqa: B018


def aligned_faces(benchmark: RawBenchmark, workers: int, name: str) -> Iterator[bytes]:
    """Yield the encoded face of each row; faces that are already aligned do not change."""
    rows = range(len(benchmark.sources))
    if benchmark.landmarks is None:
        for row in track(rows, f"faces of {name}"):
            encoded = benchmark.read(row)
            check_aligned(encoded, benchmark.sources[row])
            yield encoded
        return
    jobs = ((benchmark.read(i), benchmark.landmarks[i], benchmark.sources[i]) for i in rows)
    for face in crops(jobs, len(rows), workers, encode_png, f"faces of {name}"):
        if isinstance(face, ImageError):
            raise face
        yield face


def align_truth(raw: Path, landmarks: np.ndarray, out: Path) -> None:
    """Write the true depth as seen in the aligned crops."""
    truth = read_arrays(raw, "index", "depth")
    aligned = [
        aligned_depth(depth.astype(np.float32), landmarks[row])
        for row, depth in zip(truth["index"], truth["depth"], strict=True)
    ]
    depths, masks = map(np.stack, zip(*aligned, strict=True))
    np.savez(out, index=truth["index"], depth=depths, mask=masks)


def aligned_depth(depth: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Warp the true depth of a photograph into the aligned crop.

    The crop is the view of a camera with the same field of view, so all lengths are scaled by the
    zoom of the crop, and the relief too: ``z = 1 + (z_raw − 1) · zoom``.

    Args:
        depth: ``(S, S)`` depth in the photograph; NaN where it is not known.
        landmarks: ``(5, 2)`` landmarks in the photograph, px.

    Returns:
        Depth ``(112, 112)``, and a bool mask ``(112, 112)`` of the pixels where it is known.
    """
    scale = (len(depth) - 1) / (TEMPLATE_SIZE - 1)
    zoom = np.hypot(*estimate_norm(landmarks)[:, 0]) * scale
    known = np.isfinite(depth)
    relief = norm_crop(np.where(known, depth - 1, 0), landmarks)
    cover = norm_crop(known.astype(np.float32), landmarks)
    return 1 + zoom * relief / cover.clip(0.5), cover > 0.99
