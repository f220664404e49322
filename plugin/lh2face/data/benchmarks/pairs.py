"""Pairs of photos in a folder, such as those of LFW, CFP and CPLFW."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lh2face.data.benchmark import TABLE, BenchmarkError, check_kinds
from lh2face.data.benchmarks.raw import PairRows, RawBenchmark, read_pair_rows
from lh2face.data.detectors import AnyDetector, check_one_way
from lh2face.data.image_folder import SEVERAL, describe_several
from lh2face.data.images import ImageError, read_file
from lh2face.data.landmark_list import read_landmarks
from lh2face.data.located_faces import Located, detected, examine
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
    """Photos in a folder, and a CSV file with ``first,second,same`` and optionally ``fold``.

    Without ``landmarks`` and ``detector``, the photos must be aligned faces of 112 × 112 px.

    Attributes:
        path: The folder.
        list: The CSV file. Its path, and the photos' paths in it, are relative to ``path``.
            ``same`` is 0 or 1. The threshold for the pairs of a ``fold`` is chosen on the pairs of
            all other folds.
        landmarks: CSV file without header, given relative to ``path``. A line has the path of a
            photo relative to ``path``, then x, y of left eye, right eye, nose, left and right mouth
            corner in px.
        origin: How the faces were made.
        detector: Detector that finds the faces. In a photo with several faces, the most central of
            the large ones is used. Pairs with a photo without a face are left out.
    """

    path: str
    list: str
    landmarks: str | None = None
    origin: Origin = "photos"
    detector: AnyDetector | None = None

    def write(self, raw: Path, workers: int) -> None:
        """Find the faces, if there is a detector; otherwise write nothing.

        ``failures.csv`` lists the photos without a face, and the number of pairs that are left out
        because of them.

        Raises:
            BenchmarkError: If a photo is missing, or no genuine or no impostor pair is left.
            TableError: If the list cannot be read, or has no pair.
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
        """Open the photos in the list, each once; with a detector, only those with a face.

        Raises:
            BenchmarkError: If a photo is missing or has no landmarks.
            TableError: If the list cannot be read, or has no pair.
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
            found = []
            for path in photos.values():
                point = points.get(path.resolve())
                if point is None:
                    raise BenchmarkError(f"{file}: there are no landmarks of {path}")
                found.append(point)
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

    def _listed(self) -> tuple[Path, PairRows, dict[str, Path]]:
        """Read the list; return its path, its pairs, and the path of each photo by name."""
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
