"""How far long work is: a bar on a terminal, plain lines every few seconds in a log file."""

import atexit
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from lh2face.text import printable

QUIET = "LH2FACE_QUIET"
SECONDS = 5.0  # between two plain lines
Item = TypeVar("Item")


class Lines:
    """The first step, then a line every few seconds, then the last step.

    Args:
        what: The work, such as "aligning faces".
        total: Number of steps; ``None`` where nobody knows.
        done: Steps of an earlier run that this one goes on from.
    """

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        self.what, self.total = what, total
        self.done = self.first = self.shown = done
        self.start, self.last, self.status = time.monotonic(), -SECONDS, ""

    def advance(self, steps: int = 1, status: str = "") -> None:
        """Count some steps, and say how the work stands."""
        self.done, self.status = self.done + steps, printable(status)
        if time.monotonic() - self.last >= SECONDS:
            self.show()

    def show(self) -> None:
        """Print where the work is."""
        self.last, self.shown = time.monotonic(), self.done
        per_second = (self.done - self.first) / max(self.last - self.start, 1e-9)
        of = "" if self.total is None else f"/{self.total}"
        parts = [f"{self.what}: {self.done}{of}", rate(per_second)]
        if self.total is not None:
            parts.append(f"{clock((self.total - self.done) / per_second)} left")
        print("  ".join(filter(None, [*parts, self.status])), flush=True)

    def close(self) -> None:
        """Print the last step, if no line has."""
        if self.shown < self.done:
            self.show()


class Bar:
    """The same as a bar of rich."""

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        from rich import progress

        self.first, self.start = done, time.monotonic()
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
        # Whatever ends the program, the terminal gets its cursor back.
        atexit.register(self.bar.stop)

    def advance(self, steps: int = 1, status: str = "") -> None:
        """As that of :class:`Lines`."""
        done = self.bar.tasks[0].completed + steps - self.first
        per_second = rate(done / max(time.monotonic() - self.start, 1e-9))
        status = printable(status)
        self.bar.update(self.task, advance=steps, rate=per_second, status=status)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.stop()
        atexit.unregister(self.bar.stop)


class Silence(Lines):
    """No line at all: ``lh2face --quiet``."""

    def show(self) -> None:
        """Print nothing."""


def progress(what: str, total: int | None, done: int = 0) -> Lines | Bar:
    """A :class:`Bar` where standard output is a terminal, otherwise :class:`Lines`.

    :class:`Silence` where the environment has ``LH2FACE_QUIET``, as ``lh2face --quiet`` sets it.
    """
    shown = Silence if os.environ.get(QUIET) else Bar if sys.stdout.isatty() else Lines
    return shown(printable(what), total, done)


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The items, with progress shown as they are used.

    Args:
        items: What to go through.
        what: The work.
        total: Number of items; their length, if they have one.
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
    """Steps a second, with two digits or more."""
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
