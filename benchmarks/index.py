"""Compare opening the index of a large record file with reading its numbers by NumPy.

    python benchmarks/index.py [--records 5800000] [--rounds 3]

The record file is sparse, because opening it reads the index only. Memory is the growth of a
process, compared with the 16 bytes per record that a key and an offset need. The script also
measures how much memory a forked process, such as a worker of a data loader, adds when it reads
keys in all parts of the index.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import peak_memory, seconds

from lh2face.data.recordio import HEADER, MAGIC, PART, RecordReader

RECORD_BYTES = 10_000
LINES = 1 << 20


def write(folder: Path, records: int) -> Path:
    """Write an index in insightface's format, and a record file with the first record only."""
    path = folder / "train.rec"
    with path.open("wb") as file:
        file.write(PART.pack(MAGIC, RECORD_BYTES - PART.size) + HEADER.pack(0, 1.0, 0, 0))
        file.truncate(records * RECORD_BYTES)
    with path.with_suffix(".idx").open("w") as file:
        for start in range(0, records, LINES):
            keys = range(start, min(start + LINES, records))
            file.write("".join(f"{key}\t{key * RECORD_BYTES}\n" for key in keys))
    return path


def read_numbers(path: Path) -> np.ndarray:
    """Read the numbers of the index without checks, which is the least possible work."""
    return np.fromfile(path.with_suffix(".idx"), np.int64, sep=" ")


def private_bytes(reader: RecordReader) -> int:
    """Measure the bytes of memory that a forked process adds by using the index."""

    def use(queue: multiprocessing.Queue) -> None:
        before = _private()
        int(reader.keys[:: len(reader) // 1000].sum()) + int(reader._offsets.sum())
        queue.put(_private() - before)

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=use, args=(queue,))
    process.start()
    grown = queue.get()
    process.join()
    return grown


def _private() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return 1024 * int(rollup.partition("Private_Dirty:")[2].split()[0])


def main() -> None:
    """Print times, memory, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=5_800_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), arguments.records)
        ours = seconds(lambda: RecordReader(path), arguments.rounds)
        bare = seconds(lambda: read_numbers(path), arguments.rounds)
        memory = peak_memory(RecordReader, path)
        reader = RecordReader(path)
        added = private_bytes(reader)
        order = np.random.default_rng(0).integers(0, len(reader), 100_000)
        start = time.perf_counter()
        for key in order:
            reader._row(key)
        lookup = (time.perf_counter() - start) / len(order)
    least = 16 * arguments.records
    print(
        f"{arguments.records} records: {ours:.2f} s, numpy.fromfile {bare:.2f} s: "
        f"{ours / bare:.2f} times as long; at most {memory / 2**20:.0f} MiB, "
        f"{memory / least:.2f} times 16 bytes per record; {added / 2**20:.1f} MiB more in a forked "
        f"process; {1e6 * lookup:.1f} µs to find a key "
        "(aim: 2 s and 100 MiB for 5.8 million records, 10 s and 1.5 GB for 42 million)"
    )


if __name__ == "__main__":
    main()
