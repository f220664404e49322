"""Atomic outputs: they are written under another name and put in place when they are complete.

The program replaces only what it wrote itself. A folder that it wrote has a manifest,
``.lh2face.json``, with the name and size of each file. A folder with any other file is refused, and
the message names the file.
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
# DVC writes its outputs into this file; it stays when the folder is replaced.
CARRIED_OVER = ".gitignore"
# Files that are no user's work: the manifest, and files that other programs write into any folder.
IGNORED = {MANIFEST, CARRIED_OVER, ".snakemake_timestamp", ".DS_Store"}


class OutputError(ValueError):
    """An output must not be written; the message names it and the reason."""


@contextmanager
def atomic_dir(path: Path, inputs: Iterable[Path | None] = ()) -> Iterator[Path]:
    """Provide an empty folder that replaces ``path`` if the block ends without an exception.

    Args:
        path: The folder to write. If it is a link, its target is written.
        inputs: Files and folders that are read to make it; ``None`` is ignored.

    Yields:
        The folder to write into. If the block raises, it is removed and ``path`` does not change.

    Raises:
        OutputError: For the reasons of :func:`check_output`, or if another process writes ``path``.
    """
    target = behind_links(path)
    check_output(target, inputs)
    with _with_parents(target.parent), _locked(target), _partial(target) as partial:
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
    """Provide an empty folder whose files are moved into ``folder`` if the block does not raise.

    Args:
        folder: The folder that gets the files; other files in it do not change.
        names: Names of the files.
        inputs: Files and folders that are read to make them; ``None`` is ignored.

    Yields:
        The folder to write the files into. If the block raises, it is removed.

    Raises:
        OutputError: If a file of one of the names exists and is not in the manifest, an input
            would be overwritten, or another process writes into ``folder``.
    """
    folder = behind_links(folder)
    _check_no_file(folder)
    given = {behind_links(path) for path in inputs if path is not None}
    listed = _read_manifest(folder)
    for name in names:
        path = folder / name
        if path in given:
            raise OutputError(f"{path}: is an input; choose another folder for the output")
        if os.path.lexists(path) and not _is_listed(path, listed.get(name)):
            raise OutputError(f"{path}: exists, and lh2face did not write it")
    with _with_parents(folder), _locked(folder / MANIFEST), _partial(folder / MANIFEST) as partial:
        yield partial
        listed |= _files(partial)
        for name in names:
            (partial / name).replace(folder / name)
        (partial / MANIFEST).write_text(_manifest_text(listed), encoding="utf-8")
        (partial / MANIFEST).replace(folder / MANIFEST)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Provide a path whose file replaces ``path`` if the block ends without an exception.

    Args:
        path: The file to write. An existing file is replaced, so it must be the program's own, or
            one that the user asked to change. If it is a link, its target is written.

    Yields:
        The path to write to. If the block raises, it is removed and ``path`` does not change.

    Raises:
        OutputError: If another process writes ``path``.
    """
    target = behind_links(path)
    with _with_parents(target.parent), _locked(target), _partial(target) as folder:
        yield folder / target.name
        if target.exists():
            shutil.copymode(target, folder / target.name)
        (folder / target.name).replace(target)


def check_output(path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Check, before any work, that a folder may be written.

    Args:
        path: The folder to write; it need not exist.
        inputs: Files and folders that are read to make it; ``None`` is ignored.

    Raises:
        OutputError: If ``path`` is a file or a mount point, is or contains an input or lies inside
            one, or contains a file that the program did not write.
    """
    target = behind_links(path)
    for given in inputs:
        if given is None:
            continue
        real = behind_links(given)
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
            if file.name not in IGNORED and not _is_listed(file, listed.get(name)):
                raise OutputError(
                    f"{path}: holds {name}, which lh2face did not write or which was changed since;"
                    " move it away or choose another output"
                )


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes; it is created if it does not exist.

    Raises:
        OutputError: If another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / LOCK, folder):
        yield


@contextmanager
def _with_parents(folder: Path) -> Iterator[None]:
    """Make a folder and its parents; if the block raises, remove those made here if empty."""
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
    """Lock ``target`` against other processes that would write it."""
    lock = target.with_name(f".{target.name}.lock")
    with _held(lock, target):
        yield


@contextmanager
def _held(path: Path, what: Path) -> Iterator[None]:
    """Hold a lock file and remove it afterwards; the error says that ``what`` is in use."""
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        holder = path.read_text(encoding="utf-8", errors="replace") or "another process"
        raise OutputError(f"{what}: {holder} works here already; wait for it or stop it") from None
    try:
        # Windows does not allow writing to a locked file; then the message names no process.
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        # Removed before the release: a process that waits on the old file notices this and retries.
        with suppress(OSError):
            path.unlink()
        lock.release()


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """Make a new folder with an unpredictable name beside ``target``, and remove it afterwards.

    The caller holds the lock of ``target``, so folders of earlier runs are unused and are removed.
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
        if error.filename is None and error.errno is not None:  # as for a write to a full disk
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    finally:
        _recover(folder)
        shutil.rmtree(folder, ignore_errors=True)


def behind_links(path: Path) -> Path:
    """Resolve the links of a path; unlike ``Path.resolve``, without an error for circular ones."""
    return Path(os.path.realpath(path))


def _is_own_partial(folder: Path) -> bool:
    if folder.is_symlink() or not (folder / MANIFEST).is_file():
        return False
    return not hasattr(os, "geteuid") or folder.stat().st_uid == os.geteuid()


def _put_in_place(new: Path, target: Path) -> None:
    """Replace ``target`` by ``new``; at any moment at least one of them is complete on disk."""
    if not target.exists():
        new.replace(target)
        return
    if (target / CARRIED_OVER).is_file() and not (new / CARRIED_OVER).exists():
        shutil.copy2(target / CARRIED_OVER, new / CARRIED_OVER)
    if not _exchange(new, target):
        # If this process is killed between these two lines, the next run restores the old folder.
        target.replace(new.with_name(f"old-{target.name}"))
        new.replace(target)


def _recover(partial: Path) -> None:
    """Restore each old folder whose replacement is missing."""
    for old in partial.glob("old-*"):
        target = partial.with_name(old.name.removeprefix("old-"))
        if not target.exists():
            old.replace(target)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two paths atomically by Linux's ``renameat2``; return False if it is not available."""
    at_working_directory, exchange = -100, 2
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    paths = (os.fsencode(first), os.fsencode(second))
    failed = rename(at_working_directory, paths[0], at_working_directory, paths[1], exchange)
    return not failed


def _check_no_file(target: Path) -> None:
    """Raise :class:`OutputError` if the folder or one of its parents is a file."""
    for path in (target, *target.parents):
        if path.exists():
            if not path.is_dir():
                raise OutputError(f"{path}: is a file; expected a folder to write")
            return


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files and links below a folder; links are not followed."""
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
    """Read the sizes of the files in a folder's manifest, by name; empty without a manifest."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return dict(files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _is_listed(file: Path, size: int | None) -> bool:
    """Whether a file has the size listed in the manifest; ``size`` is None if it is not listed."""
    return size is not None and file.is_file() and file.stat().st_size == size
