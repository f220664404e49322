"""Sources of training faces: the types of ``sources`` in ``params.yaml``, by name.

A source fills an empty folder with a manifest and, unless its records are used in place, with
records.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
from pydantic import Field

from lh2face.data.conversion import write_records
from lh2face.data.detectors import AnyDetector, check_one_way
from lh2face.data.image_folder import held_out, read_photos, write_train
from lh2face.data.manifest import Manifest, Origin, write_manifest
from lh2face.data.paths import inside
from lh2face.data.recordio import RecordReader, record_layout
from lh2face.data.records import inspect_records, records_digest
from lh2face.data.sources import Face, LeftOut, SourceError, magface_list, parquet, webdataset
from lh2face.text import printable

# A number of people or of images of a person, of which pairs are made.
Several = Annotated[int, Field(ge=2)]
# Range of seeds that every random generator here accepts.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fold = Annotated[int, Field(ge=0)]


class TrainingSource(Protocol):
    """Interface of a source; its fields are its parameters."""

    @property
    def path(self) -> str:
        """The file or folder that DVC watches for changes."""

    def write(self, out: Path, workers: int) -> None:
        """Fill an empty folder, and print one line about what was found.

        Args:
            out: The folder.
            workers: Number of processes or threads; it does not change the result.

        Raises:
            ValueError: If the source cannot be used; the message names the file, and the record,
                row or line.
        """


@dataclass(frozen=True)
class HeldOut:
    """People of an image folder who are reserved for a benchmark of the same ``path``.

    Attributes:
        fraction: Share of the people in one fold, in (0, 1).
        fold: Number of the fold, from 0, or several of them. The folds of a seed have no person in
            common.
        seed: Seed of the random order of the people.
    """

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25
    fold: Fold | Annotated[list[Fold], Field(min_length=1)] = 0
    seed: Seed = 0


@dataclass(frozen=True)
class Synthetic:
    """Rendered faces of invented people.

    Attributes:
        path: Folder of the code that renders them.
        people: Number of people, ≥ 2.
        images_per_person: Number of images per person, ≥ 2.
        image_size: Side of the images in px, 32 … 1024.
        seed: Seed of all random draws.
    """

    path: str
    people: Several = 160
    images_per_person: Several = 12
    image_size: Annotated[int, Field(ge=32, le=1024)] = 128
    seed: Seed = 0

    def write(self, out: Path, workers: int) -> None:
        """Implement :meth:`TrainingSource.write`; ``workers`` are processes."""
        from lh2face.data.synthetic.generate import SyntheticConfig, write_train

        config = SyntheticConfig(
            train_people=self.people,
            images_per_person=self.images_per_person,
            image_size=self.image_size,
        )
        write_train(config, out, seed=self.seed, workers=workers)
        images = self.people * self.images_per_person
        _describe(out, "synthetic", self.path, images, self.people, aligned=False)


@dataclass(frozen=True)
class ImageFolder:
    """The user's own photos, ``path/<identity>/*``.

    One of ``aligned``, ``landmarks`` and ``detector`` must be given.

    Attributes:
        path: Folder with one folder per person.
        aligned: Whether the faces are upright and centred and fill the image.
        landmarks: CSV file without header, given relative to ``path`` and inside it. A line has the
            path of a photo relative to ``path``, then x, y of left eye, right eye, nose, left and
            right mouth corner in px.
        held_out: The people who are reserved for a benchmark.
        detector: Detector that finds the faces. In a photo with several faces, the most central of
            the large ones is used.
    """

    path: str
    aligned: bool = False
    landmarks: str | None = None
    held_out: HeldOut | None = None
    detector: AnyDetector | None = None

    def write(self, out: Path, workers: int) -> None:
        """Implement :meth:`TrainingSource.write`; the photos are copied unchanged to records."""
        root = Path(self.path)
        check_one_way(self, self.path)
        landmarks = None if self.landmarks is None else inside(root, self.landmarks, "landmarks")
        detect = None if self.detector is None else self.detector.open()
        with read_photos(
            root, out, aligned=self.aligned, landmarks=landmarks, detect=detect, workers=workers
        ) as found:
            members = np.arange(len(found.people))
            if left := self.held_out:
                rng = np.random.default_rng(left.seed)
                members = np.setdiff1d(members, held_out(found, left.fraction, left.fold, rng))
            aligned = write_train(found, members, out, crops=self.aligned)
            images = sum(len(found.people[person]) for person in members)
        _describe(
            out, "photos", self.path, images, len(members), len(found.left_out), str(found),
            aligned=aligned,
        )  # fmt: skip


@dataclass(frozen=True)
class Records:
    """A folder with a ``train.rec`` of aligned faces in insightface's format; it is not copied.

    Labels are not renumbered: they may have gaps and need not begin at 0. The number of identities
    is that in ``property``, or else the greatest label + 1.

    Attributes:
        path: The folder; ``train.idx`` and ``property`` are optional.
        origin: How the faces were made.
    """

    path: str
    origin: Origin = "photos"

    def write(self, out: Path, workers: int) -> None:
        """Implement :meth:`TrainingSource.write`; it writes only the manifest, in one thread."""
        found = inspect_records(Path(self.path))
        layout, classes = found.layout, found.classes
        manifest = Manifest(
            self.origin, self.path, True, len(layout.images), classes, 0, str(layout), found.digest
        )
        write_manifest(out, manifest)
        print(f"{printable(self.path)}: {found}")


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
        """The file or folder to read."""
        return Path(self.path)

    def write(self, out: Path, workers: int) -> None:
        """Implement :meth:`TrainingSource.write`; ``workers`` are threads."""
        path = self.file()
        if not path.exists():
            raise SourceError(f"{path}: no such file or folder")
        found = write_records(self.reader(path), path, out, workers)
        _describe(out, self.origin, self.path, *found, aligned=True)


@dataclass(frozen=True)
class MagfaceList(_Converted):
    """MagFace's training list: the path of an image, an unused column, and the identity.

    Attributes:
        path: The list; or a folder with the list and the images, which is then all watched for
            changes.
        list: The list, given relative to that folder.
        origin: How the faces were made.
    """

    list: str | None = None
    reader = staticmethod(magface_list)

    def file(self) -> Path:
        """The list."""
        return Path(self.path) if self.list is None else inside(Path(self.path), self.list, "list")


@dataclass(frozen=True)
class Parquet(_Converted):
    """A Parquet file, or a folder of them, with a column of images and one of identities."""

    reader = staticmethod(parquet)


@dataclass(frozen=True)
class WebDataset(_Converted):
    """A tar file, or a folder of them; a sample has an image and, in ``.cls``, its identity."""

    reader = staticmethod(webdataset)


TRAINING_SOURCES: dict[str, type[TrainingSource]] = {
    "synthetic": Synthetic,
    "image_folder": ImageFolder,
    "records": Records,
    "magface_list": MagfaceList,
    "parquet": Parquet,
    "webdataset": WebDataset,
}


def _describe(
    out: Path, origin: Origin, path: str, images: int, identities: int, left_out: int = 0,
    more: str | None = None, *, aligned: bool,
) -> None:  # fmt: skip
    """Write the manifest of the records in a folder, and print a line about them."""
    layout = str(record_layout(RecordReader(out / "train.rec")))
    digest = records_digest(out)
    write_manifest(
        out, Manifest(origin, ".", aligned, images, identities, left_out, layout, digest)
    )
    if more is None:
        more = f"; left out {left_out}, listed in failures.csv" if left_out else ""
    print(f"{printable(path)}: {images} images of {identities} identities{more}")
