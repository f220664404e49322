"""Pairs of photos in a folder, the form of LFW, CFP and CPLFW."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lh2face.data.benchmark import BenchmarkError
from lh2face.data.benchmarks.raw import OnDisk, RawBenchmark, read_pair_rows
from lh2face.data.image_folder import read_landmarks
from lh2face.data.images import read_file
from lh2face.data.manifest import Origin
from lh2face.data.paths import below, inside


@dataclass(frozen=True)
class Pairs(OnDisk):
    """Photos in a folder, and a CSV of ``first,second,same`` and perhaps ``fold``.

    Attributes:
        path: The folder.
        list: The CSV, seen from ``path`` like the photos that it names; ``same`` is 0 or 1, and
            the threshold for the pairs of a ``fold`` is found on those of the others.
        landmarks: CSV without header, seen from ``path``: photo, then x, y of left eye, right eye,
            nose, left and right mouth corner, px; without it the photos are aligned at 112 × 112.
        origin: How the faces were made.
    """

    path: str
    list: str
    landmarks: str | None = None
    origin: Origin = "photos"

    def open(self, raw: Path) -> RawBenchmark:
        """The photos that the list names, each once.

        Raises:
            BenchmarkError: If a photo is not there or has no landmarks.
            TableError: If the list is none, or has no pair.
        """
        root = Path(self.path)
        listed = inside(root, self.list, "list")
        rows = read_pair_rows(listed)
        names = [*dict.fromkeys(name for row in rows for name in row[:2])]
        try:
            paths = [below(root, name) for name in names]
        except ValueError as error:
            raise BenchmarkError(f"{listed}: {error}") from None
        if absent := next((path for path in paths if not path.is_file()), None):
            raise BenchmarkError(f"{listed}: there is no image {absent}")
        landmarks = None
        if self.landmarks is not None:
            file = inside(root, self.landmarks, "landmarks")
            points = read_landmarks(file, root)
            found = [points.get(path.resolve()) for path in paths]
            for path, point in zip(paths, found, strict=True):
                if point is None:
                    raise BenchmarkError(f"{file}: there are no landmarks of {path}")
            landmarks = np.stack(found)
        return RawBenchmark(
            origin=self.origin,
            images={"name": names},
            sources=list(map(str, paths)),
            read=lambda row: read_file(paths[row]),
            landmarks=landmarks,
            pairs={listed.stem: rows},
        )
