"""Compare sources of training faces with the least work that they must do.

    python benchmarks/training_sources.py [--records 200000] [--photos 25000 50000] [--workers 1]

The source of a record file does not copy it, so it should take little more time than hashing the
file, which is needed once. The source of an image folder is compared with reading and decoding each
file to RGB in one thread, which every user of the photos must do. Both are measured in processor
time and alternate, because of other work on the machine. The source does more than that: it writes
the photos as records, and searches for equal files. It also does less: it checks that a JPEG can be
decoded, but computes no colours. Memory is the growth of a new process. The files are in the
system's cache.
"""

import argparse
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from measure import peak_memory

from lh2face.data.recordio import RecordWriter
from lh2face.data.training_sources import ImageFolder, Records

# Number of different faces. The records and photos repeat them; photos have different bytes
# appended.
FACES = 200
PHOTOS = 5
TURNS = 5
SIZE = 112


def faces() -> list[bytes]:
    """Make JPEGs of smooth shapes."""
    rng = np.random.default_rng(0)
    encoded = []
    for small in rng.integers(0, 256, (FACES, 8, 8, 3), np.uint8):
        image = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        encoded.append(cv2.imencode(".jpg", image)[1].tobytes())
    return encoded


def write_records(root: Path, count: int, index: bool) -> None:
    """Write a record file in insightface's format, with a record of each identity at its end."""
    images, people = faces(), count // 20
    root.mkdir()
    with RecordWriter(root / "train.rec") as writer:
        writer.write(0, b"", [count + 1.0, count + 1.0 + people])
        for key in range(1, count + 1):
            writer.write(key, images[key % FACES], (key - 1) % people)
        for key in range(count + 1, count + 1 + people):
            writer.write(key, b"", [1.0, 2.0])
    (root / "property").write_text(f"{people},{SIZE},{SIZE}\n", encoding="utf-8")
    if not index:
        (root / "train.idx").unlink()


def write_photos(root: Path, count: int) -> None:
    """Write JPEG files, five per person, all different."""
    images = faces()
    for i in range(count):
        folder = root / f"{i // PHOTOS:06}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.jpg").write_bytes(images[i % FACES] + i.to_bytes(4, "little"))


def read_records(root: str, out: str) -> None:
    """Run the source of a record folder."""
    Records(root).write(Path(out), 1)


def read_photos(root: str, out: str, workers: int) -> None:
    """Run the source of an image folder."""
    ImageFolder(root, aligned=True).write(Path(out), workers)


def hash_file(root: str) -> None:
    """Hash the record file, which is the least possible work."""
    with Path(root, "train.rec").open("rb") as file:
        hashlib.file_digest(file, "sha256")


def decode_photos(root: str) -> None:
    """Read and decode all photos, which is the least possible work."""
    for folder in sorted(Path(root).iterdir()):
        for path in sorted(folder.iterdir()):
            cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def seconds(fn: Callable[..., None], *args: object, clock: Callable[[], float]) -> float:
    """Measure the seconds of one call."""
    start = clock()
    fn(*args)
    return clock() - start


def disk(folder: Path) -> int:
    """Compute the bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def main() -> None:
    """Print times, memory, disk, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--photos", type=int, nargs="*", default=[25_000, 50_000])
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for index in (True, False) if arguments.records else ():
        with tempfile.TemporaryDirectory() as name:
            root, out = Path(name, "records"), Path(name, "out")
            write_records(root, arguments.records, index)
            out.mkdir()
            bare = min(seconds(hash_file, str(root), clock=time.perf_counter) for _ in range(3))
            ours = min(
                seconds(read_records, str(root), str(out), clock=time.perf_counter)
                for _ in range(3)
            )
            memory = peak_memory(read_records, str(root), str(out))
            print(
                f"train.rec of {disk(root) / 1e6:.0f} MB, {'with' if index else 'without'} index: "
                f"{ours:.2f} s, the hash alone {bare:.2f} s: {ours - bare:.2f} s more; "
                f"{memory / 1e6:.0f} MB of memory, {disk(out) / 1e6:.4f} MB on disk "
                "(aim for 200000 records: 5 s, 300 MB, 1 MB)"
            )
    for photos in arguments.photos:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name, "photos")
            write_photos(root, photos)
            bare, ours = [], []
            for turn in range(TURNS):
                out = Path(name, str(turn))
                out.mkdir()
                bare.append(seconds(decode_photos, str(root), clock=time.process_time))
                job = (read_photos, str(root), str(out), arguments.workers)
                ours.append(seconds(*job, clock=time.process_time))
                shutil.rmtree(out)
            out.mkdir()
            memory = peak_memory(read_photos, str(root), str(out), arguments.workers)
            print(
                f"{photos} photos with {arguments.workers} threads: {median(ours):.1f} s of "
                f"processor time, reading and decoding alone {median(bare):.1f} s: "
                f"{median(ours) / median(bare):.2f} times as long; "
                f"{memory / 1e6:.0f} MB of memory, {memory / photos:.0f} bytes per photo "
                "(aim for 50000: 1.3 times, 1 GB, as many bytes per photo as for 25000)"
            )


if __name__ == "__main__":
    main()
