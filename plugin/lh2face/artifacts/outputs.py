"""Files of stages: whole outputs only, written under a temporary name; one writer at a time."""

import csv
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOCK = "lock"


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path`` that takes its place when the block ends well.

    Args:
        path: The folder to write; one that exists is replaced.

    Yields:
        The folder to write into. If the block raises, it is removed and ``path`` stays as it was.
    """
    partial = _partial(path)
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.is_dir():
        shutil.rmtree(path)
    partial.rename(path)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a file name beside ``path`` that takes its place when the block ends well.

    Args:
        path: The file to write; one that exists is replaced.

    Yields:
        The file to write. If the block raises, it is removed and ``path`` stays as it was.
    """
    partial = _partial(path)
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep every other process out of a folder, by the file ``lock`` in it, made if need be.

    Raises:
        ValueError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{folder}: {file.read()} works here already; wait for it or stop it"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def read_json(path: Path, expected: str) -> Any:
    """What a JSON file holds.

    Args:
        path: The file.
        expected: What the folder around it should be, for the message.

    Raises:
        ValueError: If there is no such file, or it is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; expected {expected}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None


def write_rows(path: Path, header: tuple[str, ...], rows: Iterable[tuple]) -> None:
    """A CSV that ``dvc plots`` reads."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _partial(path: Path) -> Path:
    """The temporary name, cleared of what a killed run may have left there."""
    partial = path.with_name(f".{path.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    if partial.is_dir():
        shutil.rmtree(partial)
    partial.unlink(missing_ok=True)
    return partial
