"""Functions that all benchmarks share: measuring time and peak memory."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def seconds(fn: Callable[[], object], repeat: int = 5) -> float:
    """Measure the seconds of the fastest of ``repeat`` calls, after one call as warm-up."""
    fn()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_memory(fn: Callable[..., object], *args: object) -> int:
    """Measure by how many bytes a module-level function raises the peak memory of a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_grown, fn, args).result()


def _grown(fn: Callable[..., object], args: tuple) -> int:
    before = _high_water()
    fn(*args)
    return _high_water() - before


def _high_water() -> int:
    # Not getrusage: its maximum is inherited from the parent process.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
