"""Pairs of photos in a folder, the form of LFW, CFP and CPLFW."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lh2face.data.benchmark import TABLE, BenchmarkError, check_kinds
from lh2face.data.benchmarks.raw import RawBenchmark, read_pair_rows
from lh2face.data.detectors import AnyDetector, check_one_way
from lh2face.data.image_folder import (
    SEVERAL,
    Located,
    describe_several,
    detected,
    examine,
    read_landmarks,
)
from lh2face.data.images import ImageError, read_file
from lh2face.data.manifest import Origin
from lh2face.data.parallel import in_order
from lh2face.data.paths import below, inside
from lh2face.files.arrays import read_array
from lh2face.files.tables import read_rows, write_rows
from lh2face.progress import track
from lh2face.text import printable

LANDMARKS = "landmarks.npy"


@dataclass(frozen=True)
class Pairs:
    """Photos in a folder, and a CSV of ``first,second,same`` and perhaps ``fold``.

    Attributes:
        path: The folder.
        list: The CSV, seen from ``path`` like the photos that it names; ``same`` is 0 or 1, and
            the threshold for the pairs of a ``fold`` is found on those of the others.
        landmarks: CSV without header, seen from ``path``: photo, then x, y of left eye, right eye,
            nose, left and right mouth corner, px; without it the photos are aligned at 112 × 112.
        origin: How the faces were made.
        detector: What finds the faces, in place of landmarks; of a photo with several, the most
            central of the large ones is used. A pair of a photo without a face is left out.
    """

    path: str
    list: str
    landmarks: str | None = None
    origin: Origin = "photos"
    detector: AnyDetector | None = None

    def write(self, raw: Path, workers: int) -> None:
        """Find the faces, where a detector is to do it.

        A photo without a face is listed in ``failures.csv``, and so is the number of pairs that are
        left out with it.

        Raises:
            BenchmarkError: If a photo is not there, or no pair of one person or of two is left.
            TableError: If the list is none, or has no pair.
            ValueError: If the detector cannot be used.
        """
        check_one_way(self, self.path)
        if self.detector is None:
            return
        listed, rows, photos = self._listed()
        locate = partial(detected, self.detector.open())
        found: dict[str, Located] = {}
        failures, several = [], []
        paths = track(photos.items(), f"finding the faces of {self.path}", len(photos))
        for name, located in in_order(
            lambda one: (one[0], examine(one[1], locate)), paths, workers
        ):
            if isinstance(located, ImageError):
                failures.append((name, located.reason))
            else:
                found[name] = located[1]
                if located[1].faces > 1:
                    several.append((name, located[1].faces))
        kept = [row for row in rows if row[0] in found and row[1] in found]
        if failures:
            lost = f"{len(rows) - len(kept)} of {len(rows)} pairs are left out with their photos"
            print(printable(f"{listed}: {lost}; {len(failures)} photos, listed in failures.csv"))
            failures.append((listed.name, lost))
        check_kinds(np.array([row[2] for row in kept]), listed)
        if several:
            print(printable(f"{self.path}: {describe_several(len(several))}"))
        write_rows(raw / "failures.csv", ("file", "reason"), failures)
        write_rows(raw / SEVERAL, ("file", "faces"), several)
        write_rows(raw / TABLE, ("name",), ((name,) for name in found))
        np.save(raw / LANDMARKS, np.stack([located.landmarks for located in found.values()]))

    def open(self, raw: Path) -> RawBenchmark:
        """The photos that the list names, each once; those with a face, if a detector found them.

        Raises:
            BenchmarkError: If a photo is not there or has no landmarks.
            TableError: If the list is none, or has no pair.
        """
        listed, rows, photos = self._listed()
        landmarks = None
        if self.detector is not None:
            names = [row["name"] for row in read_rows(raw / TABLE, {"name": str})]
            photos = {name: photos[name] for name in names}
            rows = [row for row in rows if row[0] in photos and row[1] in photos]
            landmarks = read_array(raw / LANDMARKS)
        elif self.landmarks is not None:
            file = inside(Path(self.path), self.landmarks, "landmarks")
            points = read_landmarks(file, Path(self.path))
            found = [points.get(path.resolve()) for path in photos.values()]
            for path, point in zip(photos.values(), found, strict=True):
                if point is None:
                    raise BenchmarkError(f"{file}: there are no landmarks of {path}")
            landmarks = np.stack(found)
        paths = list(photos.values())
        return RawBenchmark(
            origin=self.origin,
            images={"name": list(photos)},
            sources=list(map(str, paths)),
            read=lambda row: read_file(paths[row]),
            landmarks=landmarks,
            pairs={listed.stem: rows},
        )

    def _listed(self) -> tuple[Path, list[tuple], dict[str, Path]]:
        """The list, its pairs, and the path of each photo that it names."""
        root = Path(self.path)
        listed = inside(root, self.list, "list")
        rows = read_pair_rows(listed)
        try:
            photos = {name: below(root, name) for row in rows for name in row[:2]}
        except ValueError as error:
            raise BenchmarkError(f"{listed}: {error}") from None
        if absent := next((path for path in photos.values() if not path.is_file()), None):
            raise BenchmarkError(f"{listed}: there is no image {absent}")
        return listed, rows, photos
