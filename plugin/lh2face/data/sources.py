"""Iterators over the faces of a source: encoded images with their identities.

Nothing here executes or decodes what it reads, because a file may be hostile. An image that cannot
be used is yielded as :class:`LeftOut` and does not end the iteration.
"""

import codecs
import errno
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lh2face.data.images import MAX_BYTES, ImageError, read_file

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "jpg", "jpeg", "png"), ("label", "identity", "cls")
IMAGE_FILES = ("jpg", "jpeg", "png", "webp", "bmp")
# Extensions of picture files, whether or not the format can be decoded.
PICTURES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm",
    ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".avif", ".jp2",
}  # fmt: skip
# Folders and files that operating systems and NAS create among photos, besides hidden ones.
SYSTEM_FOLDERS = {
    "@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"
}  # fmt: skip
SYSTEM_FILES = {"Thumbs.db", "desktop.ini"}
# Rows to read at once; few, because a row may be large.
PARQUET_ROWS = 32
PARQUET_BUFFER = 1 << 20
# Bytes to read at once in the zeros after a tar; a multiple of its block size.
ZEROS_AT_ONCE = 1 << 20
# Limit for a line in bytes; no path is longer.
LIST_LINE = 1 << 13
# Two ways to read a line: split at every blank, as MagFace does; or with all but two columns as the
# path, which may have blanks.
LIST_COLUMNS = (
    re.compile(r"([^ \t]+)[ \t]+[^ \t]+[ \t]+([^ \t]+).*"),
    re.compile(r"(.+?)[ \t]+[^ \t]+[ \t]+([^ \t]+)"),
)


class SourceError(ValueError):
    """A source cannot be read; the message names the file and, if known, the line or byte."""


class Face(NamedTuple):
    """An image of a person: its place (for messages), the identity, and the encoded image."""

    where: str
    identity: str
    encoded: bytes


class LeftOut(NamedTuple):
    """An image or folder that is not used: its place and the reason."""

    where: str
    reason: str


def image_folder(root: Path) -> Iterator[Face | LeftOut]:
    """Iterate over the photos ``root/<identity>/*`` that :func:`people` and :func:`photos` find."""
    folders, left_out = people(root)
    yield from left_out
    for folder in folders:
        paths, left_out = photos(folder)
        yield from left_out
        for path in paths:
            yield _from_file(str(path), folder.name, path)


def people(root: Path) -> tuple[list[Path], list[LeftOut]]:
    """Find the folders of people in a folder, sorted, and what is left out beside them.

    Hidden folders and those that operating systems create are not people. If several names link to
    the same folder, the first one that is not a link is used, or else the first link.
    """
    folders, left_out = {}, []
    for entry in _entries(root):
        path = root / entry.name
        if not _is_dir(entry, path):
            if _is_picture(path):
                left_out.append(LeftOut(str(path), "beside the people's folders"))
            elif entry.is_symlink() and not path.exists():
                left_out.append(LeftOut(str(path), "a broken link"))
        elif _is_hidden(path):
            left_out += _hidden(path)
        else:
            folders[path] = entry.is_symlink()
    # Only links are resolved: resolving every name would be slow.
    parent = root.resolve()
    real = {path: path.resolve() if link else parent / path.name for path, link in folders.items()}
    known = {real[path]: path for path in sorted(folders, key=folders.__getitem__, reverse=True)}
    again = {path: known[real[path]].name for path in folders if known[real[path]] != path}
    left_out += [LeftOut(str(path), f"the same folder as {name}") for path, name in again.items()]
    return [path for path in folders if path not in again], left_out


def photos(folder: Path) -> tuple[list[Path], list[LeftOut]]:
    """Find the possible photos in a person's folder, sorted, and the pictures that are left out.

    Pictures in subfolders are left out, because a subfolder may belong to this person or to another
    one.
    """
    paths, left_out = [], []
    try:
        entries = _entries(folder)
    except OSError as error:
        return [], [LeftOut(str(folder), error.strerror or str(error))]
    for entry in entries:
        path = folder / entry.name
        if _is_dir(entry, path):
            if _is_hidden(path):
                left_out += _hidden(path)
            else:
                reason = "in a folder below the person's; move it up to use it"
                left_out += [LeftOut(picture, reason) for picture in _pictures_below(path)]
        elif entry.name.startswith("."):
            if _is_picture(path):
                left_out.append(LeftOut(str(path), "a hidden file"))
        elif entry.name not in SYSTEM_FILES:
            paths.append(path)
    return paths, left_out


def repeated(digests: Mapping[Path, bytes]) -> list[LeftOut]:
    """Find the photos to leave out because their files are equal.

    If files of one person are equal, the first one is kept. If files of several people are equal,
    none is kept, because their identity is unknown.

    Args:
        digests: Digest of the content by path ``root/<identity>/*``, in order.
    """
    first: dict[bytes, Path] = {}
    elsewhere: dict[bytes, Path] = {}
    for path, digest in digests.items():
        if path.parent != first.setdefault(digest, path).parent:
            elsewhere.setdefault(digest, path)
    left_out = []
    for path, digest in digests.items():
        known = first[digest]
        stranger = elsewhere.get(digest) if path.parent == known.parent else known
        if stranger is not None:
            name = Path(stranger.parent.name, stranger.name)
            left_out.append(LeftOut(str(path), f"the same file as another person's, {name}"))
        elif path != known:
            left_out.append(LeftOut(str(path), f"the same file as {known.name}"))
    return left_out


def magface_list(path: Path) -> Iterator[Face | LeftOut]:
    """Iterate over MagFace's training list: path, an unused column, identity; separated by blanks.

    Paths are absolute or relative to the list's folder, and may contain blanks. Blank lines, tabs
    between the columns, Windows line endings and a byte order mark are accepted.

    Raises:
        SourceError: If the list is not a regular file, or a line has 8 KiB or more.
    """
    _check_regular(path)
    with path.open("rb") as file:
        for line, raw in enumerate(iter(lambda: file.readline(LIST_LINE), b""), start=1):
            if len(raw) == LIST_LINE:
                raise SourceError(f"{path}:{line}: the line has {LIST_LINE} bytes or more")
            # Paths are bytes of an unknown encoding.
            columns = os.fsdecode(raw.removeprefix(codecs.BOM_UTF8)).strip(" \t\r\n")
            found = [match.groups() for form in LIST_COLUMNS if (match := form.fullmatch(columns))]
            if found:
                # Path.is_file raises where a name is too long.
                there = (pair for pair in found if os.path.isfile(path.parent / pair[0]))  # noqa: PTH113
                name, identity = next(there, found[0])
                image = path.parent / name
                yield _from_file(f"{path}:{line}: {image!s:.300}", identity, image)
            elif columns:
                reason = f"expected path, x and identity, found {columns[:80]!r}"
                yield LeftOut(f"{path}:{line}", reason)


def parquet(path: Path) -> Iterator[Face | LeftOut]:
    """Iterate over a Parquet file, or a folder of them.

    One column has the images, as binary or, as in Hugging Face's datasets, as a struct with
    ``bytes``. Another has the identities. Their names are those in ``IMAGE_COLUMNS`` and
    ``LABEL_COLUMNS``.

    Raises:
        SourceError: If a file cannot be read, or has no such columns.
    """
    import pyarrow
    from pyarrow import parquet as reader

    for file in _files(path, "*.parquet"):
        try:
            # As bytes, because pyarrow cannot open a str path that is not UTF-8.
            source = pyarrow.OSFile(os.fsencode(file))
            schema = reader.read_schema(source)
            image, label = (
                _column(file, schema.names, known) for known in (IMAGE_COLUMNS, LABEL_COLUMNS)
            )
            kind = schema.field(image).type
            nested = pyarrow.types.is_struct(kind)
            if nested and kind.get_field_index("bytes") < 0:
                raise SourceError(f"{file}: column {image}: a struct without bytes")
            # Keep a dictionary encoded: a small file may repeat one large image many times.
            kept = [f"{image}.bytes" if nested else image]
            opened = reader.ParquetFile(source, buffer_size=PARQUET_BUFFER, read_dictionary=kept)
            row = 0
            for batch in opened.iter_batches(PARQUET_ROWS, columns=[image, label]):
                for picture, who in zip(batch[image], batch[label], strict=True):
                    content = picture["bytes"].as_py() if nested else picture.as_py()
                    where = f"{file}: row {row}"
                    if not isinstance(content, bytes) or who.as_py() is None:
                        yield LeftOut(where, "no image bytes, or no identity")
                    else:
                        yield Face(where, str(who.as_py()), content)
                    row += 1
        except (pyarrow.ArrowException, OSError) as error:
            raise SourceError(f"{file}: {error}") from None


def webdataset(path: Path) -> Iterator[Face | LeftOut]:
    """Iterate over a tar file, or a folder of them; a sample has an image and a ``.cls``.

    A sample consists of consecutive members whose paths are equal up to the first dot of the file
    name. Its identity is the text in ``.cls``.

    Raises:
        SourceError: If a tar is damaged or cut short.
    """
    for file in _files(path, "*.tar"):
        for (_, key), members in groupby(_members(file), lambda member: member[0]):
            found = [(kind, content) for _, kind, content in members]
            parts = dict(found)
            where = f"{file}: {key}"
            image = next((parts[kind] for kind in IMAGE_FILES if kind in parts), None)
            who = parts.get("cls")
            if len(parts) < len(found) or not image or who is None:
                kinds = sorted(kind for kind, _ in found)
                reason = f"expected an image and a .cls, each once, whole, found {kinds}"
                yield LeftOut(where, reason)
            else:
                yield Face(where, who.decode("utf-8", "backslashreplace").strip(), image)


CONVERTIBLE: dict[str, Callable[[Path], Iterator[Face | LeftOut]]] = {
    source.__name__: source for source in (image_folder, magface_list, parquet, webdataset)
}


def _files(path: Path, pattern: str) -> list[Path]:
    files = sorted(path.glob(pattern)) if path.is_dir() else [path]
    if not files:
        raise SourceError(f"{path}: there is no {pattern} in it")
    for file in files:
        _check_regular(file)
    return files


def _check_regular(path: Path) -> None:
    # Opening a pipe would wait for its writer.
    if not path.is_file():
        raise SourceError(f"{path}: not a regular file")


def _from_file(where: str, identity: str, path: Path) -> Face | LeftOut:
    try:
        return Face(where, identity, read_file(path))
    except ImageError as error:
        return LeftOut(where, error.reason)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List the entries of a folder, sorted by name; scandir also returns their types."""
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _is_dir(entry: os.DirEntry[str], path: Path) -> bool:
    # For a link to itself, DirEntry.is_dir raises OSError; Path.is_dir returns False.
    return path.is_dir() if entry.is_symlink() else entry.is_dir()


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


def _is_hidden(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in SYSTEM_FOLDERS


def _hidden(folder: Path) -> list[LeftOut]:
    count = len(_pictures_below(folder))
    reason = f"a hidden folder is not used as a person ({count} pictures in it)"
    return [LeftOut(str(folder), reason)] if count else []


def _pictures_below(folder: Path) -> list[str]:
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    return sorted(str(path) for path in found if _is_picture(path))


def _members(file: Path) -> Iterator[tuple[tuple[int, str], str, bytes | None]]:
    """Iterate over the files of a tar, or of several concatenated tars.

    Yields:
        The sample (the offset of its tar, and its key), the extension, and the content. The content
        is ``None`` if the extension is not needed, or the member is sparse or larger than
        ``MAX_BYTES``.

    Raises:
        SourceError: If a tar is damaged or cut short.
    """
    wanted = {*IMAGE_FILES, "cls"}
    with file.open("rb") as opened:
        stop = 0
        while (start := _next_block(opened, stop)) is not None:
            try:
                with tarfile.open(fileobj=opened, mode="r:") as tar:
                    while (member := tar.next()) is not None:
                        # tarfile keeps all members in memory otherwise.
                        tar.members = []  # type: ignore[attr-defined]  # typeshed lacks it
                        folder, slash, name = member.name.rpartition("/")
                        key, _, extension = name.partition(".")
                        if key and member.isreg():
                            small = member.size <= MAX_BYTES and not member.issparse()
                            use = small and extension.lower() in wanted
                            part = tar.extractfile(member) if use else None
                            content = None if part is None else part.read()
                            yield (start, folder + slash + key), extension.lower(), content
                    stop = tar.offset
            except Exception as error:
                # tarfile raises many types of error for a damaged tar.
                raise SourceError(f"{file}: {error}") from None
            if stop == start:
                raise SourceError(f"{file}: damaged at byte {start}: no tar header is there")


def _next_block(file: BinaryIO, start: int) -> int | None:
    """Seek to the next block that is not zero and return its offset; ``None`` at the end.

    The holes of a sparse file are skipped, because they can be of any size.
    """
    while True:
        try:
            start = os.lseek(file.fileno(), start, os.SEEK_DATA)
        except AttributeError:  # SEEK_DATA does not exist on every system
            pass
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
        file.seek(start)
        found = file.read(ZEROS_AT_ONCE)
        if not found:
            return None
        if rest := found.lstrip(b"\0"):
            start += (len(found) - len(rest)) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
            file.seek(start)
            return start
        start += len(found)


def _column(file: Path, names: list[str], known: tuple[str, ...]) -> str:
    for name in known:
        if name in names:
            return name
    raise SourceError(f"{file}: expected one of the columns {known}, found {names}")
