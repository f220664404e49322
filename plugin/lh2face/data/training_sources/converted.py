"""Aligned faces in other formats as sources: MagFace's lists, Parquet, webdataset."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lh2face.data.conversion import write_records
from lh2face.data.manifest import Origin
from lh2face.data.paths import inside
from lh2face.data.sources import Face, LeftOut, SourceError, magface_list, parquet, webdataset
from lh2face.data.training_sources.source import describe


@dataclass(frozen=True)
class _Converted:
    """Aligned faces in another format, which are converted to records.

    Attributes:
        path: The file or folder.
        origin: How the faces were made.
    """

    path: str
    origin: Origin = "photos"

    @staticmethod
    def reader(path: Path) -> Iterator[Face | LeftOut]:
        """Iterate over the faces in a file or folder."""
        raise NotImplementedError

    def file(self) -> Path:
        """Return the file or folder to read."""
        return Path(self.path)

    def write(self, out: Path, workers: int) -> None:
        """Implement :meth:`TrainingSource.write`; ``workers`` are threads."""
        path = self.file()
        if not path.exists():
            raise SourceError(f"{path}: no such file or folder")
        found = write_records(self.reader(path), path, out, workers)
        describe(out, self.origin, self.path, *found, aligned=True)


@dataclass(frozen=True)
class MagfaceList(_Converted):
    """MagFace's training list: the path of an image, an unused column, and the identity.

    Attributes:
        path: The list; or a folder with the list and the images, if DVC should watch the whole
            folder for changes.
        list: Path of the list, relative to that folder.
        origin: How the faces were made.
    """

    list: str | None = None
    reader = staticmethod(magface_list)

    def file(self) -> Path:
        """Return the path of the list."""
        return Path(self.path) if self.list is None else inside(Path(self.path), self.list, "list")


@dataclass(frozen=True)
class Parquet(_Converted):
    """A Parquet file, or a folder of them, with a column of images and one of identities."""

    reader = staticmethod(parquet)


@dataclass(frozen=True)
class WebDataset(_Converted):
    """A tar file, or a folder of them; a sample has an image and, in ``.cls``, its identity."""

    reader = staticmethod(webdataset)
