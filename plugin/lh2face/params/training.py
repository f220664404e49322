"""The sections of the trainings: the reconstructor, the recognizers, the joint loss."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from lh2face.data.training_sources import Seed
from lh2face.params.sections import Section, Weight
from lh2face.training.recipe import load_recipe

if TYPE_CHECKING:
    from mmengine.config import Config


class Recipe(Section):
    """A training whose recipe is an mmengine config.

    Attributes:
        config: The recipe: network, batch, optimizer, schedule, augmentation.
        options: Values put over it, by dotted name.
    """

    config: str
    options: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it

    def recipe(self, folder: Path = Path()) -> "Config":
        """The config with the options in it.

        Args:
            folder: That of ``params.yaml``, which ``config`` is relative to.

        Raises:
            RecipeError: As :func:`lh2face.training.recipe.load_recipe`.
        """
        return load_recipe(folder / self.config, self.options)


class Fit3D(Recipe):
    """Training of the reconstructor on the aligned faces.

    Attributes:
        config: The recipe, an mmengine config: reconstructor, batch, optimizer, schedule.
        options: Values put over it, by dotted name.
        seed: Seed of weights and batches.
    """

    seed: Seed = 0


class Init(Section):
    """Weights to begin a training from.

    Attributes:
        path: What :func:`~lh2face.training.weights.read_weights` reads.
    """

    path: str


class Train(Recipe):
    """Training of a recognizer, the same for every head.

    Attributes:
        config: The recipe, an mmengine config: network, batch, optimizer, schedule, augmentation.
        options: Values put over it, by dotted name.
        init: The weights to begin from, of which there may be none.
    """

    init: Annotated[list[Init], Field(max_length=1)] = []  # noqa: RUF012


class Joint(Section):
    """Weights of the joint loss (arXiv 2506.23555): reconstruction, canonical face, view.

    Attributes:
        reco_weight: Weight of the reconstructor's own loss.
        canon_weight: Weight of the head's loss on the canonical face.
        view_weight: Weight of the view's consistency under mirroring.
        fusion: What the backbone reads beside the image.
    """

    reco_weight: Weight
    canon_weight: Weight
    view_weight: Weight
    fusion: Literal["none", "canonical", "canonical_depth"]
