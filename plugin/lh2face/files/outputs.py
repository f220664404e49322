"""Whole outputs only: written under another name, checked against what is there, then put in place.

The program replaces only what it wrote. A folder that it wrote holds a manifest, ``.lh2face.json``,
with the name and size of each file; a folder with anything else in it is refused by name.
"""

import ctypes
import glob
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lh2face.lock"
MANIFEST = ".lh2face.json"
PARTIAL = ".partial"
# DVC keeps the names of its outputs out of git by this file; a folder keeps it when it is replaced.
CARRIED_OVER = ".gitignore"
# Programs leave these in any folder; nobody's work is in them.
NOBODYS = {MANIFEST, CARRIED_OVER, ".snakemake_timestamp", ".DS_Store"}


class OutputError(ValueError):
    """An output that must not be written; the message names it and what is in the way."""


@contextmanager
def atomic_dir(path: Path, inputs: Iterable[Path | None] = ()) -> Iterator[Path]:
    """Give an empty folder that takes the place of ``path`` when the block ends well.

    Args:
        path: The folder to write. If it is a link, the folder behind it is written.
        inputs: What is read to make it; ``None`` counts for nothing.

    Yields:
        The folder to write into. If the block raises, it is removed and ``path`` stays as it was.

    Raises:
        OutputError: As :func:`check_output`; or if another process writes ``path``.
    """
    target = _behind_links(path)
    check_output(target, inputs)
    with _made(target.parent), _locked(target), _partial(target) as partial:
        folder = partial / target.name
        folder.mkdir()
        yield folder
        check_output(target)
        _write_manifest(folder)
        _put_in_place(folder, target)


@contextmanager
def atomic_files(
    folder: Path, names: Sequence[str], inputs: Iterable[Path | None] = ()
) -> Iterator[Path]:
    """Give an empty folder whose files take their places in ``folder`` when the block ends well.

    Args:
        folder: The folder that they come into; other files in it stay.
        names: Names of the files.
        inputs: Files and folders that are read to make them; ``None`` counts for nothing.

    Yields:
        The folder to write the files into. If the block raises, it is removed.

    Raises:
        OutputError: If a file of that name is there which the manifest does not list, or one of
            the inputs would be overwritten.
    """
    folder = _behind_links(folder)
    _check_no_file(folder)
    given = {_behind_links(path) for path in inputs if path is not None}
    listed = _read_manifest(folder)
    for name in names:
        path = folder / name
        if path in given:
            raise OutputError(f"{path}: is an input; choose another folder for the output")
        if os.path.lexists(path) and not _is_listed(path, listed.get(name)):
            raise OutputError(f"{path}: exists, and lh2face did not write it")
    with _made(folder), _locked(folder / MANIFEST), _partial(folder / MANIFEST) as partial:
        yield partial
        listed |= _files(partial)
        for name in names:
            (partial / name).replace(folder / name)
        (partial / MANIFEST).write_text(_manifest_text(listed), encoding="utf-8")
        (partial / MANIFEST).replace(folder / MANIFEST)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a file name that takes the place of ``path`` when the block ends well.

    Args:
        path: The file to write. One that exists is replaced, so it must be the program's own, or
            one that the user asked to change. If it is a link, the file behind it is written.

    Yields:
        The file to write. If the block raises, it is removed and ``path`` stays as it was.
    """
    target = _behind_links(path)
    with _made(target.parent), _locked(target), _partial(target) as folder:
        yield folder / target.name
        if target.exists():
            shutil.copymode(target, folder / target.name)
        (folder / target.name).replace(target)


def check_output(path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse a folder that must not be written, before any work.

    Args:
        path: The folder to write; it need not exist.
        inputs: What is read to make it; ``None`` counts for nothing.

    Raises:
        OutputError: If ``path`` is a file or a mount point, is, holds or lies inside an input, or
            holds anything that the program did not write.
    """
    target = _behind_links(path)
    for given in inputs:
        if given is None:
            continue
        real = _behind_links(given)
        if real == target or target in real.parents:
            raise OutputError(f"{path}: is or holds the input {given}; choose another output")
        if real in target.parents:
            raise OutputError(f"{path}: lies inside the input {given}; choose another output")
    _check_no_file(target)
    if target.is_dir():
        if target.is_mount():
            raise OutputError(f"{path}: is a mount point; choose a folder inside it")
        listed = _read_manifest(target)
        for file in _walk(target):
            name = file.relative_to(target).as_posix()
            if file.name not in NOBODYS and not _is_listed(file, listed.get(name)):
                raise OutputError(
                    f"{path}: holds {name}, which lh2face did not write or which was changed since;"
                    " move it away or choose another output"
                )


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep every other process out of a folder, by a lock file in it, made if need be.

    Raises:
        ValueError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / LOCK, folder):
        yield


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; if the block raises, those made here and empty are gone."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty: another process works there
            for path in missing:
                path.rmdir()
        raise


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Keep out every other process that writes ``target``."""
    lock = target.with_name(f".{target.name}.lock")
    with _held(lock, target):
        yield


@contextmanager
def _held(path: Path, what: Path) -> Iterator[None]:
    """Hold a lock file, which is gone afterwards; an error says that ``what`` is in use."""
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        holder = path.read_text(encoding="utf-8", errors="replace") or "another process"
        raise OutputError(f"{what}: {holder} works here already; wait for it or stop it") from None
    try:
        # Windows lets nobody write to a locked file; then the message names no process.
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        # Still held: who opened the file meanwhile sees that its name is gone, and opens anew.
        with suppress(OSError):
            path.unlink()
        lock.release()


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A new folder beside ``target`` that nobody could have made before; gone afterwards.

    The caller holds the lock of ``target``, so what an earlier run left is nobody's any more.
    """
    for old in target.parent.glob(f".{glob.escape(target.name)}.*{PARTIAL}"):
        if _is_own_partial(old):
            _recover(old)
            shutil.rmtree(old, ignore_errors=True)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(8)}{PARTIAL}")
    folder.mkdir()
    try:
        (folder / MANIFEST).write_text(_manifest_text({}), encoding="utf-8")
        yield folder
    except OSError as error:
        if error.filename is None and error.errno is not None:  # a write to a full disk names none
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    finally:
        _recover(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _behind_links(path: Path) -> Path:
    # Path.resolve raises RuntimeError where links lead in a circle.
    return Path(os.path.realpath(path))


def _is_own_partial(folder: Path) -> bool:
    if folder.is_symlink() or not (folder / MANIFEST).is_file():
        return False
    return not hasattr(os, "geteuid") or folder.stat().st_uid == os.geteuid()


def _put_in_place(new: Path, target: Path) -> None:
    """Let ``new`` take the place of ``target``; at each moment one of the two is whole on disk."""
    if not target.exists():
        new.replace(target)
        return
    if (target / CARRIED_OVER).is_file() and not (new / CARRIED_OVER).exists():
        shutil.copy2(target / CARRIED_OVER, new / CARRIED_OVER)
    if not _exchange(new, target):
        # The next run puts the old folder back if this one ends between these two lines.
        target.replace(new.with_name(f"old-{target.name}"))
        new.replace(target)


def _recover(partial: Path) -> None:
    """Put back each old folder whose place is still empty."""
    for old in partial.glob("old-*"):
        target = partial.with_name(old.name.removeprefix("old-"))
        if not target.exists():
            old.replace(target)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step, by Linux's ``renameat2``; False where that is not to be had."""
    at_working_directory, exchange = -100, 2
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    paths = (os.fsencode(first), os.fsencode(second))
    failed = rename(at_working_directory, paths[0], at_working_directory, paths[1], exchange)
    return not failed


def _check_no_file(target: Path) -> None:
    """Refuse a folder whose name, or that of a folder above it, is a file's."""
    for path in (target, *target.parents):
        if path.exists():
            if not path.is_dir():
                raise OutputError(f"{path}: is a file; expected a folder to write")
            return


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder, and links; a link is not followed."""
    for root, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        yield from (Path(root) / name for name in sorted([*files, *links]))


def _files(folder: Path) -> dict[str, int]:
    files = (file for file in _walk(folder) if file.name != MANIFEST)
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def _write_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text(_manifest_text(_files(folder)), encoding="utf-8")


def _manifest_text(files: dict[str, int]) -> str:
    return json.dumps({"written by": "lh2face", "files": files}, indent=1, sort_keys=True) + "\n"


def _read_manifest(folder: Path) -> dict[str, int]:
    """Size of each file that the program wrote into a folder, by name; empty without a manifest."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return dict(files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _is_listed(file: Path, size: int | None) -> bool:
    """Whether a file still has the size that a manifest lists for it; None if it lists none."""
    return size is not None and file.is_file() and file.stat().st_size == size
