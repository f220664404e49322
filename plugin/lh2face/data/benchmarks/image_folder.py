"""The user's own photos, ``path/<identity>/*``, as a benchmark."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lh2face.data.benchmarks.raw import RawBenchmark, open_folder
from lh2face.data.detectors import AnyDetector
from lh2face.data.image_folder import held_out, read_photos, write_benchmark
from lh2face.data.parameters import HeldOut, Seed
from lh2face.text import printable


@dataclass(frozen=True)
class ImageFolderBenchmark:
    """The user's own photos, ``path/<identity>/*``.

    One of ``aligned``, ``landmarks`` and ``detector`` must be given.

    Attributes:
        path: Folder with one folder per person.
        aligned: Whether the faces are upright and centred and fill the image.
        landmarks: CSV file without header, given relative to ``path``. A line has the path of a
            photo relative to ``path``, then x, y of left eye, right eye, nose, left and right mouth
            corner in px.
        held_out: The people to use; ``null`` for all. A training source with the same folder and
            the same ``held_out`` uses all other people.
        seed: Seed of the random pairs.
        detector: Detector that finds the faces. In a photo with several faces, the most central of
            the large ones is used.
    """

    path: str
    aligned: bool = False
    landmarks: str | None = None
    held_out: HeldOut | None = None
    seed: Seed = 0
    detector: AnyDetector | None = None

    def write(self, raw: Path, workers: int) -> None:
        """Write the photos, encoded again as JPEG, in the layout of IJB.

        Raises:
            ImageFolderError: If the folder or the landmarks cannot be used, there are fewer than
                four people, or there is no such fold.
            ValueError: If a detector is given together with ``landmarks`` or ``aligned``.
        """
        with read_photos(self, raw, workers) as found:
            members = np.arange(len(found.people))
            if (kept := self.held_out) is not None:
                rng = np.random.default_rng(kept.seed)
                members = held_out(found, kept.fraction, kept.fold, rng)
            write_benchmark(found, members, raw, np.random.default_rng(self.seed))
        if str(found):
            images = sum(len(found.people[person]) for person in members)
            print(printable(f"{Path(self.path)}: {images} images of {len(members)} people{found}"))

    def open(self, raw: Path) -> RawBenchmark:
        """Open the photos that :meth:`write` wrote."""
        return open_folder(raw, "photos")
