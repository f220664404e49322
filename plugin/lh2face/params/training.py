"""The sections ``fit3d``, ``train`` and ``joint``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from lh2face.data.parameters import Seed
from lh2face.params.sections import Section, Weight
from lh2face.training.recipe import load_recipe

if TYPE_CHECKING:
    from mmengine.config import Config


class Recipe(Section):
    """A training whose recipe is an mmengine config.

    Attributes:
        config: Path of the config: network, batch, optimizer, schedule, augmentation.
        options: Values that override the config, by dotted name.
    """

    config: str
    options: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it

    def recipe(self, folder: Path = Path()) -> "Config":
        """Load the config and apply the options.

        Args:
            folder: Folder of ``params.yaml``, to which ``config`` is relative.

        Raises:
            RecipeError: For the reasons of :func:`lh2face.training.recipe.load_recipe`.
        """
        return load_recipe(folder / self.config, self.options)


class Fit3D(Recipe):
    """Training of the reconstructor on the aligned faces.

    Attributes:
        config: Path of the mmengine config: reconstructor, batch, optimizer, schedule.
        options: Values that override the config, by dotted name.
        seed: Seed of the weights and the batches.
    """

    seed: Seed = 0


class Init(Section):
    """Pretrained weights with which a training begins.

    Attributes:
        path: File or folder that :func:`~lh2face.training.weights.read_weights` can read.
    """

    path: str


class Train(Recipe):
    """Training of a recognizer, the same for every head.

    Attributes:
        config: Path of the mmengine config: network, batch, optimizer, schedule, augmentation.
        options: Values that override the config, by dotted name.
        init: Pretrained weights: a list with one entry, or an empty list for random weights.
    """

    init: Annotated[list[Init], Field(max_length=1)] = []  # noqa: RUF012


class Joint(Section):
    """Weights of the joint loss (arXiv 2506.23555): reconstruction, canonical face, view.

    Attributes:
        reco_weight: Weight of the reconstructor's own loss.
        canon_weight: Weight of the head's loss on the canonical face.
        view_weight: Weight of the view's consistency under mirroring.
        fusion: What the backbone reads besides the image: nothing, the canonical face, its depth
            map, or both.
    """

    reco_weight: Weight
    canon_weight: Weight
    view_weight: Weight
    fusion: Literal["none", "canonical", "depth", "canonical_depth"]
