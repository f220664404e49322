"""Progress of long work: a bar on a terminal, or plain lines every few seconds in a log file."""

import atexit
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from lh2face.text import printable

QUIET = "LH2FACE_QUIET"
SECONDS = 5.0  # between two plain lines
# The speed is measured over this many plain lines. With more of them, the estimate of the time left
# would follow a change of speed too slowly.
RECENT = 6
Item = TypeVar("Item")


class Lines:
    """Print a line at the first step, then every few seconds, and at the last step.

    The speed is measured from the first step on, as processes may have to start before it.

    Args:
        what: Name of the work, such as "aligning faces".
        total: Number of steps; ``None`` if it is unknown.
        done: Number of steps that an earlier run has already done.
    """

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        self.what, self.total = what, total
        self.done = self.shown = done
        self.last, self.status = -SECONDS, ""
        self.marks: deque[tuple[float, int]] = deque(maxlen=RECENT)

    def advance(self, steps: int = 1, status: str = "") -> None:
        """Count some steps; ``status`` is shown at the end of the line."""
        self.done, self.status = self.done + steps, printable(status)
        if not self.marks:
            self.marks.append((time.monotonic(), self.done))
        if time.monotonic() - self.last >= SECONDS:
            self.show()

    def show(self) -> None:
        """Print a line with the current step, speed and remaining time."""
        self.last, self.shown = time.monotonic(), self.done
        since, done = self.marks[0]
        of = "" if self.total is None else f"/{self.total}"
        parts = [f"{self.what}: {self.done}{of}"]
        if self.done > done:
            per_second = (self.done - done) / max(self.last - since, 1e-9)
            self.marks.append((self.last, self.done))
            parts.append(rate(per_second))
            if self.total is not None:
                parts.append(f"{clock((self.total - self.done) / per_second)} left")
        print("  ".join(filter(None, [*parts, self.status])), flush=True)

    def close(self) -> None:
        """Print the last step, unless it has been printed."""
        if self.shown < self.done:
            self.show()


class Bar:
    """Show the progress as a bar of rich; see :class:`Lines` for the arguments."""

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[status]}", markup=False),
        )
        self.task = self.bar.add_task(what, total=total, completed=done, rate="", status="")
        self.bar.start()
        # Restores the terminal's cursor, however the program ends.
        atexit.register(self.bar.stop)

    def advance(self, steps: int = 1, status: str = "") -> None:
        """Count some steps; ``status`` is shown at the end of the bar."""
        self.bar.update(self.task, advance=steps, status=printable(status))
        # rich takes the speed from the last half minute.
        self.bar.update(self.task, rate=rate(self.bar.tasks[0].speed or 0))

    def close(self) -> None:
        """Stop the bar at its current state."""
        self.bar.stop()
        atexit.unregister(self.bar.stop)


class Silence(Lines):
    """Show no progress, as ``lh2face --quiet`` requests."""

    def show(self) -> None:
        """Print nothing."""


def progress(what: str, total: int | None, done: int = 0) -> Lines | Bar:
    """Create a :class:`Bar` if standard output is a terminal, or else :class:`Lines`.

    With ``LH2FACE_QUIET`` in the environment, as ``lh2face --quiet`` sets it, create a
    :class:`Silence`.
    """
    shown = Silence if os.environ.get(QUIET) else Bar if sys.stdout.isatty() else Lines
    return shown(printable(what), total, done)


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Iterate over items and show the progress.

    Args:
        items: The items.
        what: Name of the work.
        total: Number of items; by default ``len(items)``, if they have a length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    shown = progress(what, total)
    try:
        for item in items:
            yield item
            shown.advance()
    finally:
        shown.close()


def rate(per_second: float) -> str:
    """Format steps per second, with at least two digits."""
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s"


def clock(seconds: float) -> str:
    """Format seconds as ``h:mm:ss`` or ``m:ss``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
