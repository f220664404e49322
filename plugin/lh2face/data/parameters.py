"""Types of parameters that sources of training faces and benchmarks share."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

# A number of people, or of images per person; genuine pairs need two images.
Several = Annotated[int, Field(ge=2)]
# Range of seeds that every random generator here accepts.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fold = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class HeldOut:
    """People of an image folder who are reserved for a benchmark of the same ``path``.

    Attributes:
        fraction: Share of the people in one fold, in (0, 1).
        fold: Number of the fold, from 0, or several of them. The folds of a seed have no person in
            common.
        seed: Seed of the random order of the people.
    """

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25
    fold: Fold | Annotated[list[Fold], Field(min_length=1)] = 0
    seed: Seed = 0
