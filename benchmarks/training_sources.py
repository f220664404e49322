"""Compare sources of training faces with the least work that they must do.

    python benchmarks/training_sources.py [--records 200000] [--photos 25000 50000] [--workers 1]

A record file is read where it lies: beside hashing its bytes, which somebody must do once, its
source should take next to nothing. An image folder is beside reading each of its files and decoding
it to pixels of three colours, in one thread, as its photos' user must; both in processor time, by
turns, because others may compute on the machine. The source does more (it writes the photos as
records, and looks for equal files), and less: it sees that all of a JPEG can be decoded, without
working out colours. Memory is what a fresh process grows by; files are in the system's cache.
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

# Different faces; the records and photos repeat them, with other bytes behind their end.
FACES = 200
PHOTOS = 5
TURNS = 5
SIZE = 112


def faces() -> list[bytes]:
    """JPEGs of smooth shapes with some noise."""
    rng = np.random.default_rng(0)
    encoded = []
    for small in rng.integers(0, 256, (FACES, 8, 8, 3), np.uint8):
        image = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        encoded.append(cv2.imencode(".jpg", image)[1].tobytes())
    return encoded


def write_records(root: Path, count: int, index: bool) -> None:
    """A record file as insightface has it, a record of each identity at its end."""
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
    """The source of a record folder."""
    Records(root).write(Path(out), 1)


def read_photos(root: str, out: str, workers: int) -> None:
    """The source of an image folder."""
    ImageFolder(root, aligned=True).write(Path(out), workers)


def hash_file(root: str) -> None:
    """The floor for records."""
    with Path(root, "train.rec").open("rb") as file:
        hashlib.file_digest(file, "sha256")


def decode_photos(root: str) -> None:
    """The floor for photos."""
    for folder in sorted(Path(root).iterdir()):
        for path in sorted(folder.iterdir()):
            cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def seconds(fn: Callable[..., None], *args: object, clock: Callable[[], float]) -> float:
    """Time of one call."""
    start = clock()
    fn(*args)
    return clock() - start


def disk(folder: Path) -> int:
    """Bytes of the files in a folder."""
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
                f"{ours:.2f} s, its hash alone {bare:.2f} s: {ours - bare:.2f} s beside it; "
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
                f"{photos} photos by {arguments.workers} threads: {median(ours):.1f} s of "
                f"processor time, reading and decoding alone {median(bare):.1f} s: "
                f"{median(ours) / median(bare):.2f} times as long; "
                f"{memory / 1e6:.0f} MB of memory, {memory / photos:.0f} bytes a photo "
                "(aim for 50000: 1.3 times, 1 GB, as much as for 25000)"
            )


if __name__ == "__main__":
    main()
