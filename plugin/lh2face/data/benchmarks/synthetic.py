"""Rendered people as a benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lh2face.data.benchmarks.raw import RawBenchmark, open_folder
from lh2face.data.synthetic.generate import SyntheticConfig, write_benchmark
from lh2face.data.training_sources import Seed


@dataclass(frozen=True)
class SyntheticBenchmark:
    """Rendered people, none of them among those of a training source of the same seed.

    Attributes:
        path: What they are made from: the folder of the code.
        people: How many, ≥ 4.
        image_size: Side of the loose crops, px.
        pairs: Genuine pairs of each verification list, and as many impostor pairs.
        truth_images: Photographs whose true depth is kept.
        seed: Seed of the people, their photographs and the pairs.
    """

    path: str
    people: Annotated[int, Field(ge=4)] = 60
    image_size: Annotated[int, Field(ge=32, le=1024)] = 128
    pairs: Annotated[int, Field(gt=0)] = 300
    truth_images: Annotated[int, Field(ge=0)] = 120
    seed: Seed = 0

    def write(self, raw: Path, workers: int) -> None:
        """Render the photographs, in the layout of IJB."""
        config = SyntheticConfig(
            benchmark_people=self.people, image_size=self.image_size, pairs=self.pairs,
            truth_images=self.truth_images,
        )  # fmt: skip
        write_benchmark(config, raw, seed=self.seed, workers=workers)

    def open(self, raw: Path) -> RawBenchmark:
        """The photographs."""
        return open_folder(raw, "synthetic")
