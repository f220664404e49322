"""Types of ``benchmarks`` in ``params.yaml``, by name.

A type is a frozen dataclass whose fields are the parameters. ``path`` is the file or folder that
DVC watches for changes. ``write(raw, workers)`` fills an empty folder with the files to prepare,
such as rendered images. ``open(raw)`` returns the faces before alignment.
"""

from lh2face.data.benchmarks.bins import Bin
from lh2face.data.benchmarks.ijb import IJB
from lh2face.data.benchmarks.image_folder import ImageFolderBenchmark
from lh2face.data.benchmarks.pairs import Pairs
from lh2face.data.benchmarks.raw import BenchmarkSource, RawBenchmark
from lh2face.data.benchmarks.synthetic import SyntheticBenchmark

BENCHMARKS: dict[str, type[BenchmarkSource]] = {
    "synthetic": SyntheticBenchmark,
    "image_folder": ImageFolderBenchmark,
    "ijb": IJB,
    "bin": Bin,
    "pairs": Pairs,
}
# Types with pairs of faces; only these can be used for validation during training.
PAIRED = {name: cls for name, cls in BENCHMARKS.items() if cls is not IJB}

__all__ = ["BENCHMARKS", "PAIRED", "BenchmarkSource", "RawBenchmark"]
