"""One's own photos, ``path/<identity>/*``, as a benchmark."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lh2face.data.benchmarks.raw import RawBenchmark, open_folder
from lh2face.data.detectors import AnyDetector, check_one_way
from lh2face.data.image_folder import held_out, read_photos, write_benchmark
from lh2face.data.paths import inside
from lh2face.data.training_sources import HeldOut, Seed
from lh2face.text import printable


@dataclass(frozen=True)
class ImageFolderBenchmark:
    """One's own photos: ``path/<identity>/*``.

    Attributes:
        path: Folder with one folder a person.
        aligned: The faces are upright, centred and fill the image; else ``landmarks`` is needed.
        landmarks: CSV without header, seen from ``path``: photo, then x, y of left eye, right eye,
            nose, left and right mouth corner, px.
        held_out: Which people; ``null`` for all of them. A source of the same folder that names
            the same has all others.
        seed: Seed of the pairs.
        detector: What finds the faces, as in a source.
    """

    path: str
    aligned: bool = False
    landmarks: str | None = None
    held_out: HeldOut | None = None
    seed: Seed = 0
    detector: AnyDetector | None = None

    def write(self, raw: Path, workers: int) -> None:
        """Copy the photos, in the layout of IJB.

        Raises:
            ImageFolderError: If the folder or the landmarks cannot be used, there are fewer than
                four people, or there is no such fold.
        """
        root = Path(self.path)
        check_one_way(self, self.path)
        landmarks = None if self.landmarks is None else inside(root, self.landmarks, "landmarks")
        detect = self.detector and self.detector.open()
        with read_photos(
            root, raw, aligned=self.aligned, landmarks=landmarks, detect=detect, workers=workers
        ) as found:
            members = np.arange(len(found.people))
            if (kept := self.held_out) is not None:
                rng = np.random.default_rng(kept.seed)
                members = held_out(found, kept.fraction, kept.fold, rng)
            write_benchmark(found, members, raw, np.random.default_rng(self.seed))
        if str(found):
            images = sum(len(found.people[person]) for person in members)
            print(printable(f"{root}: {images} images of {len(members)} people{found}"))

    def open(self, raw: Path) -> RawBenchmark:
        """The photos."""
        return open_folder(raw, "photos")
