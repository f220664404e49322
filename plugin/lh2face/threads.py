"""The number of threads of a command: as many as cores are idle when it starts."""

import os
import time
from collections.abc import Set
from pathlib import Path

VARIABLE = "OMP_NUM_THREADS"
STAT = Path("/proc/stat")  # of Linux; other systems do not have it
SECONDS = 0.1  # for which idle cores are watched


def bound_threads() -> None:
    """Set ``OMP_NUM_THREADS`` to the number of idle cores, unless it is set.

    PyTorch and NumPy read it when they are imported, so call this before. Threads wait for each
    other many times per step, so a thread without a core of its own makes all others slow.
    """
    if not os.environ.get(VARIABLE):
        os.environ[VARIABLE] = str(idle_cores())


def idle_cores() -> int:
    """Count the idle cores among those that this process may use, at least 1.

    The average load would count a command that ended a few seconds ago, such as the stage before.
    It is used only where the system does not say how long its cores were idle.
    """
    if not STAT.exists():
        return max(1, round((os.cpu_count() or 1) - os.getloadavg()[0]))
    cores = os.sched_getaffinity(0)
    idle, total = ticks(STAT.read_text(encoding="utf-8"), cores)
    time.sleep(SECONDS)
    idle_after, total_after = ticks(STAT.read_text(encoding="utf-8"), cores)
    return max(1, round(len(cores) * (idle_after - idle) / max(1, total_after - total)))


def ticks(stat: str, cores: Set[int]) -> tuple[int, int]:
    """Sum the idle ticks, and all ticks, of some cores from the text of ``/proc/stat``.

    Ticks in which a core waits for a disk count as idle.
    """
    names = {f"cpu{core}" for core in cores}
    rows = [line.split() for line in stat.splitlines()]
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user and nice.
    counts = [list(map(int, values[:8])) for name, *values in rows if name in names]
    return sum(row[3] + row[4] for row in counts), sum(map(sum, counts))
