"""Faces as the field's tools keep them on disk, as one stream of encoded images and identities.

Images are read, not executed or decoded: a Parquet file or a tar may come from strangers.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "jpg", "jpeg", "png"), ("label", "identity", "cls")
IMAGE_FILES = ("jpg", "jpeg", "png", "webp", "bmp")
PARQUET_ROWS = 1024


class SourceError(ValueError):
    """A source that cannot be read; the message names the file and the line, row or sample."""


class Face(NamedTuple):
    """An image of a person: where it was found, who it shows, its encoded pixels."""

    where: str
    identity: str
    encoded: bytes


def image_folder(root: Path) -> Iterator[Face]:
    """``root/<identity>/*``."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            yield Face(str(path), folder.name, path.read_bytes())


def magface_list(path: Path) -> Iterator[Face]:
    """MagFace's training list: path, a column it does not use, identity, separated by spaces.

    Paths are absolute, or relative to the list's own folder.
    """
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line, text in enumerate(file, start=1):
            fields = text.rstrip("\r\n").split(" ")
            if len(fields) < 3:
                raise SourceError(f"{path}:{line}: expected path, x and identity, found {text!r}")
            image = path.parent / fields[0]
            try:
                yield Face(str(image), fields[2], image.read_bytes())
            except (FileNotFoundError, IsADirectoryError, ValueError):
                raise SourceError(f"{path}:{line}: there is no image {image}") from None


def parquet(path: Path) -> Iterator[Face]:
    """A Parquet file, or a folder of them, with a column of images and one of identities.

    The images are binary, or, as Hugging Face's datasets keep them, a struct with ``bytes``.
    """
    import pyarrow
    from pyarrow import parquet as reader

    for file in _files(path, "*.parquet"):
        try:
            opened = reader.ParquetFile(file)
            names = opened.schema_arrow.names
            image, label = (_column(file, names, known) for known in (IMAGE_COLUMNS, LABEL_COLUMNS))
            kind = opened.schema_arrow.field(image).type
            nested = pyarrow.types.is_struct(kind)
            if nested and kind.get_field_index("bytes") < 0:
                raise SourceError(f"{file}: column {image}: a struct without bytes")
            row = 0
            for batch in opened.iter_batches(PARQUET_ROWS, columns=[image, label]):
                for picture, who in zip(batch[image], batch[label], strict=True):
                    content = picture["bytes"].as_py() if nested else picture.as_py()
                    if not isinstance(content, bytes) or who.as_py() is None:
                        raise SourceError(f"{file}: row {row}: no image bytes, or no identity")
                    yield Face(f"{file}: row {row}", str(who.as_py()), content)
                    row += 1
        except pyarrow.ArrowException as error:
            raise SourceError(f"{file}: {error}") from None


def webdataset(path: Path) -> Iterator[Face]:
    """A tar, or a folder of them, whose samples have an image and its identity in ``.cls``."""
    from webdataset import WebDataset

    # Local files only: the library would run what stands after "pipe:".
    shards = [str(file.resolve()) for file in _files(path, "*.tar")]
    try:
        for sample in WebDataset(shards, shardshuffle=False):
            where = f"{sample['__url__']}: {sample['__key__']}"
            image = next((sample[kind] for kind in IMAGE_FILES if kind in sample), None)
            if image is None or "cls" not in sample:
                kinds = sorted(kind for kind in sample if not kind.startswith("__"))
                raise SourceError(f"{where}: expected an image and a .cls, found {kinds}")
            yield Face(where, sample["cls"].decode("utf-8", "replace").strip(), image)
    except SourceError:
        raise
    except Exception as error:
        # What the library raises on a broken tar differs from case to case.
        raise SourceError(f"{path}: {error}") from None


SOURCES: dict[str, Callable[[Path], Iterator[Face]]] = {
    source.__name__: source for source in (image_folder, magface_list, parquet, webdataset)
}


def _files(path: Path, pattern: str) -> list[Path]:
    files = sorted(path.glob(pattern)) if path.is_dir() else [path]
    if not files:
        raise SourceError(f"{path}: there is no {pattern} in it")
    return files


def _column(file: Path, names: list[str], known: tuple[str, ...]) -> str:
    for name in known:
        if name in names:
            return name
    raise SourceError(f"{file}: expected a column out of {known}, found {names}")
