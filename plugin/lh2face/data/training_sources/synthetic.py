"""Rendered faces of invented people as a source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lh2face.data.parameters import Seed, Several
from lh2face.data.training_sources.source import describe


@dataclass(frozen=True)
class Synthetic:
    """Rendered faces of invented people.

    Attributes:
        path: Folder of the code that renders them.
        people: Number of people, ≥ 2.
        images_per_person: Number of images per person, ≥ 2.
        image_size: Side of the images in px, 32 … 1024.
        seed: Seed of all random draws.
    """

    path: str
    people: Several = 160
    images_per_person: Several = 12
    image_size: Annotated[int, Field(ge=32, le=1024)] = 128
    seed: Seed = 0

    def write(self, out: Path, workers: int) -> None:
        """Implement :meth:`TrainingSource.write`; ``workers`` are processes."""
        from lh2face.data.synthetic.generate import SyntheticConfig, write_train

        config = SyntheticConfig(
            train_people=self.people,
            images_per_person=self.images_per_person,
            image_size=self.image_size,
        )
        write_train(config, out, seed=self.seed, workers=workers)
        images = self.people * self.images_per_person
        describe(out, "synthetic", self.path, images, self.people, aligned=False)
