"""Where benchmarks come from: the types of ``benchmarks`` in ``params.yaml``, by name.

A type is a frozen dataclass, its fields the parameters. ``path`` is what it is made from: a file or
folder that DVC watches. ``write(raw, workers)`` fills an empty folder with what has to be made
first; ``open(raw)`` gives its faces as they were photographed.
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
# Those that have pairs of faces, which training can be validated on.
PAIRED = {name: cls for name, cls in BENCHMARKS.items() if cls is not IJB}

__all__ = ["BENCHMARKS", "PAIRED", "BenchmarkSource", "RawBenchmark"]
