"""Feed damaged files to every reader: each input must give a result or one error in words.

    python tests/fuzz/run.py [--inputs 200000] [--jobs 2] [--only READER] [--seed 0]

An input is a set of valid files, one of them with a few random edits. A reader passes if it
returns, or raises ``ValueError`` or ``OSError`` (what the command line prints as one line), within
``SECONDS`` of processor time and its own limit of memory. Anything else is printed with the
number of the input, which reproduces it, and the script exits with 1. The inputs are divided over
the readers by their ``share``.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from readers import READERS, Reader

SECONDS = 20
# Memory of a worker with all libraries; beyond it an input ends with a MemoryError.
MOST_MEMORY = 8 << 30
CHUNK = 2500
TOKENS = (
    b"-1", b"0", b"nan", b"inf", b"-inf", b"1e309", b"1e18", b"9223372036854775808", b"4294967296",
    b"", b" ", b"\t", b"\n", b"\r\n", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b'"', b"'", b",", b"[",
    b"{", b"]", b"}", b"null", b"true", b"os.system", b"../../x", b"=1+1", b"9" * 400,
    b"[" * 2000, "é漢".encode(), b"\xed\xa0\x80",
)  # fmt: skip


class TookTooLong(BaseException):
    """An input that a reader did not finish with in time; no reader may catch it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the inputs and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", choices=sorted(READERS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chosen = {options.only: READERS[options.only]} if options.only else READERS
    total = sum(reader.share for reader in chosen.values())
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, reader in chosen.items():
            count = max(1, round(options.inputs * reader.share / total))
            start = time.perf_counter()
            outcomes, faults = fuzz(name, count, options.seed, options.jobs, Path(folder))
            shown = ", ".join(f"{number} {what}" for what, number in sorted(outcomes.items()))
            print(f"{name}: {shown}; {time.perf_counter() - start:.0f} s", flush=True)
            for number, fault in faults[:10]:
                print(f"  FAIL {name} {number}: {fault}", flush=True)
            failures += len(faults)
    print(f"{failures} faults")
    return 1 if failures else 0


def fuzz(
    name: str, count: int, seed: int, jobs: int, folder: Path
) -> tuple[Counter[str], list[tuple[int, str]]]:
    """How often each outcome occurred, and the faults with the numbers of their inputs."""
    outcomes: Counter[str] = Counter()
    faults: list[tuple[int, str]] = []
    waiting = [(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    running: list[tuple[multiprocessing.Process, Path]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            first, last = waiting.pop()
            log = folder / f"{name}-{first}.log"
            process = multiprocessing.get_context("fork").Process(
                target=work, args=(name, first, last, seed, folder / f"{name}-{first}", log)
            )
            process.start()
            running.append((process, log))
        running[0][0].join(0.1)
        for process, log in [one for one in running if not one[0].is_alive()]:
            running.remove((process, log))
            number, started = 0, None
            for line in log.read_text(encoding="utf-8").splitlines():
                kind, number_text, what = line.split("\t", 2)
                number = int(number_text)
                started = number if kind == "start" else None
                if kind == "fault":
                    faults.append((number, what))
                if kind != "start":
                    outcomes[what if kind == "ok" else "FAULT"] += 1
            if started is not None:  # this input killed the process
                faults.append((started, f"the process ended with {process.exitcode}"))
                outcomes["FAULT"] += 1
                last = min((started // CHUNK + 1) * CHUNK, count)
                if started + 1 < last:
                    waiting.append((started + 1, last))
    return outcomes, faults


def work(name: str, first: int, last: int, seed: int, folder: Path, log: Path) -> None:
    """Run the inputs ``first`` … ``last − 1`` of a reader and write the outcome of each."""
    # Libraries in C print messages on damaged files, which are of no interest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    reader = READERS[name]
    samples = read_samples(reader, folder)
    signal.signal(signal.SIGPROF, too_long)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    with log.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for number in range(first, last):
            file.write(f"start\t{number}\t\n")
            file.flush()
            place = put(
                folder / "input", damaged(samples, random.Random(f"{name}-{number}-{seed}"))
            )
            kind, what = outcome(reader, place)
            file.write(f"{kind}\t{number}\t{what}\n")
            file.flush()


def read_samples(reader: Reader, folder: Path) -> list[dict[str, bytes]]:
    """Return the files of each valid sample by name.

    Reading each once imports and starts what the reader needs."""
    folder.mkdir(parents=True)
    samples = []
    for sample in reader.samples(folder):
        files = sorted(path for path in sample.rglob("*") if path.is_file())
        samples.append({path.relative_to(sample).as_posix(): path.read_bytes() for path in files})
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            reader.read(put(folder / "input", samples[-1].items()))
    return samples


def put(place: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    """Make a folder with these files, and no others."""
    shutil.rmtree(place, ignore_errors=True)
    for name, content in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


def outcome(reader: Reader, place: Path) -> tuple[str, str]:
    """Return the outcome of an input: a result, an error in words, or a fault."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    # The timer does not stop code in C; then the kernel ends the process.
    limit = int(before.ru_utime + before.ru_stime) + 2 * SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            reader.read(place)
        found = ("ok", "read")
    except (ValueError, OSError) as error:
        lines = str(error).splitlines()
        found = ("ok", "refused") if lines else ("fault", "an error without words")
        if any(len(line) > 2000 for line in lines) or len(lines) > 20:
            found = ("fault", f"a message of {len(str(error))} characters")
        names = [str(place.parent), *(path.name for path in place.iterdir())]
        if lines and not any(name in str(error) for name in names):
            found = ("fault", f"a message that names no file: {lines[0][:150]}")
    except TookTooLong:
        found = ("fault", f"more than {SECONDS} s")
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        words = " ".join(str(error).split())[:150]
        found = ("fault", f"{type(error).__name__}: {words} ({last.filename}:{last.lineno})")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss)
    return ("fault", f"{grown >> 20} MiB more memory") if grown > reader.memory else found


def too_long(*_: object) -> None:
    """End the reader."""
    raise TookTooLong


def damaged(samples: list[dict[str, bytes]], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Return the files of a sample, one of them edited."""
    sample = rng.choice(samples)
    edited = rng.choice(sorted(sample))
    for name, content in sample.items():
        yield name, edit(content, rng) if name == edited else content


def edit(raw: bytes, rng: random.Random) -> bytes:
    """Return a file with one to four random edits."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # Half of the edits near the beginning, where headers are.
        at = rng.randrange(min(len(raw), rng.choice((64, 1 << 30))) + 1)
        size = rng.choice((1, 1, 2, 4, 8, 64))
        match rng.randrange(8):
            case 0:
                raw = raw[:at]
            case 1:
                raw = raw[:at] + rng.randbytes(size) + raw[at + size :]
            case 2:
                raw = raw[:at] + rng.randbytes(size) + raw[at:]
            case 3:
                raw = raw[:at] + raw[at + size :]
            case 4:
                raw = raw[:at] + raw[max(0, at - 32 * size) :]
            case 5:
                raw = raw[:at] + rng.choice(TOKENS) + raw[at:]
            case 6:  # a field, a line or a value replaces another
                parts = raw.split(separator := rng.choice((b" ", b",", b"\n", b"\t", b": ")))
                parts[rng.randrange(len(parts))] = rng.choice((*TOKENS, rng.choice(parts)))
                raw = separator.join(parts)
            case 7:
                value = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
                raw = raw[:at] + bytes([value]) * size + raw[at + size :]
    return raw


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
