"""One's own photos, ``path/<identity>/*``, as a benchmark."""

from dataclasses import dataclass
from pathlib import Path

from lh2face.data.benchmarks.raw import RawBenchmark, open_folder
from lh2face.data.image_folder import HeldOut, convert
from lh2face.data.paths import below


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
    """

    path: str
    aligned: bool = False
    landmarks: str | None = None
    held_out: HeldOut | None = None
    seed: int = 0

    def write(self, raw: Path, workers: int) -> None:
        """Copy the photos, in the layout of IJB."""
        root = Path(self.path)
        landmarks = None if self.landmarks is None else below(root, self.landmarks)
        convert(root, raw, aligned=self.aligned, landmarks=landmarks, held_out=self.held_out,
                seed=self.seed, part="benchmark")  # fmt: skip

    def open(self, raw: Path) -> RawBenchmark:
        """The photos."""
        return open_folder(raw / "benchmark", "photos")
