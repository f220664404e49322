"""Verification bins such as ``lfw.bin``."""

from dataclasses import dataclass
from pathlib import Path

from lh2face.data.benchmark import check_kinds
from lh2face.data.benchmarks.raw import OnDisk, RawBenchmark
from lh2face.data.manifest import Origin
from lh2face.data.paths import inside
from lh2face.data.verification_bin import read_bin


@dataclass(frozen=True)
class Bin(OnDisk):
    """A verification bin, whose faces are aligned: ``lfw.bin``, ``cfp_fp.bin``, ``agedb_30.bin`` …

    Attributes:
        path: The file; or the folder with it, all of which is watched for changes.
        file: The file in that folder, named relative to it.
        origin: How the faces were made.
    """

    path: str
    file: str | None = None
    origin: Origin = "photos"

    def open(self, raw: Path) -> RawBenchmark:
        """Its images, and their pairs as a list of the file's name.

        Raises:
            BinError: If the file is no verification bin.
            BenchmarkError: If there is no pair of one person, or none of two.
            ValueError: If it does not lie in the folder.
        """
        path = Path(self.path) if self.file is None else inside(Path(self.path), self.file, "file")
        images, same = read_bin(path)
        check_kinds(same, path)
        names = [f"{row}" for row in range(len(images))]
        pairs = list(zip(names[::2], names[1::2], same.astype(int).tolist(), strict=True))
        return RawBenchmark(
            origin=self.origin,
            images={"name": names},
            sources=[f"{path}: image {name}" for name in names],
            read=images.__getitem__,
            landmarks=None,
            pairs={path.stem: pairs},
        )
