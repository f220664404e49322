"""Rendered faces of invented people as a benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lh2face.data.benchmarks.raw import RawBenchmark, open_folder
from lh2face.data.parameters import Seed
from lh2face.data.synthetic.generate import SyntheticConfig, write_benchmark


@dataclass(frozen=True)
class SyntheticBenchmark:
    """Rendered faces of people who differ from those of a training source with the same seed.

    Attributes:
        path: Folder of the code that renders them.
        people: Number of people, ≥ 4.
        image_size: Side of the images in px, 32 … 1024.
        pairs: Number of genuine pairs per verification list, ≥ 1; there are as many impostor pairs.
        truth_images: Number of images whose true depth is kept, ≥ 0.
        seed: Seed of the people, their images and the pairs.
    """

    path: str
    people: Annotated[int, Field(ge=4)] = 60
    image_size: Annotated[int, Field(ge=32, le=1024)] = 128
    pairs: Annotated[int, Field(gt=0)] = 300
    truth_images: Annotated[int, Field(ge=0)] = 120
    seed: Seed = 0

    def write(self, raw: Path, workers: int) -> None:
        """Render the images and write them in the layout of IJB."""
        config = SyntheticConfig(
            benchmark_people=self.people, image_size=self.image_size, pairs=self.pairs,
            truth_images=self.truth_images,
        )  # fmt: skip
        write_benchmark(config, raw, seed=self.seed, workers=workers)

    def open(self, raw: Path) -> RawBenchmark:
        """Open the rendered images."""
        return open_folder(raw, "synthetic")
