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
    """A verification bin of aligned faces: ``lfw.bin``, ``cfp_fp.bin``, ``agedb_30.bin`` …

    Attributes:
        path: The file; or a folder with the file, if DVC should watch the whole folder for changes.
        file: Path of the file, relative to that folder.
        origin: How the faces were made.
    """

    path: str
    file: str | None = None
    origin: Origin = "photos"

    def open(self, raw: Path) -> RawBenchmark:
        """Read the images and pairs; the list of pairs is named after the file.

        Raises:
            BinError: If the file is not a verification bin.
            BenchmarkError: If there are only genuine or only impostor pairs.
            ValueError: If the file is not in the folder.
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
