"""Compare reading and decoding a record file with bare ``cv2.imdecode`` of the same images.

    python benchmarks/recordio.py [--images 4000] [--rounds 5]

The record file is read in random order through its index, as in training. The loop with
``cv2.imdecode`` decodes the same images in the same order, but has them in memory.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from lh2face.data.recordio import RecordReader, RecordWriter

SIZE = 112


def faces(count: int) -> list[bytes]:
    """Make JPEGs as large as those of aligned faces: smooth shapes with some noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 14, 14, 3), np.uint8)
    encoded = []
    for small in coarse:
        image = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        noisy = cv2.add(image, rng.integers(0, 12, image.shape, np.uint8))
        encoded.append(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    return encoded


def seconds(read: Callable[[int], bytes], order: list[int]) -> float:
    """Measure the seconds for reading and decoding the images in this order."""
    start = time.perf_counter()
    for key in order:
        cv2.imdecode(np.frombuffer(read(key), np.uint8), cv2.IMREAD_COLOR)
    return time.perf_counter() - start


def main() -> None:
    """Print both rates and their ratio, the median of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    encoded = faces(arguments.images)
    order = np.random.default_rng(1).permutation(len(encoded)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.rec"
        with RecordWriter(path) as writer:
            for key, image in enumerate(encoded):
                writer.write(key, image, key % 100)
        reader = RecordReader(path)
        times = [
            (seconds(lambda key: reader[key][1], order), seconds(encoded.__getitem__, order))
            for _ in range(arguments.rounds)
        ]
    ours, bare = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{len(encoded)} JPEGs of {np.mean(list(map(len, encoded))) / 1024:.1f} KiB: record file "
        f"{len(order) / ours:.0f} images/s, bare cv2.imdecode {len(order) / bare:.0f}: "
        f"{bare / ours:.3f} of that rate (aim: at least 0.9)"
    )


if __name__ == "__main__":
    main()
