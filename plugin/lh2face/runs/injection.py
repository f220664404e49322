"""Completing the recipe of a training with faces, seed, validation and weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.artifacts.provenance import PROVENANCE
from lh2face.data.benchmark import DESCRIPTION
from lh2face.files.json_object import read_object
from lh2face.training.batches import steps_per_epoch
from lh2face.training.recipe_checks import check_schedule
from lh2face.training.weights import WEIGHTS

if TYPE_CHECKING:
    from mmengine.config import Config


def add_training_faces(
    config: "Config",
    section: str,
    faces: Path,
    image_size: int,
    seed: int,
    names: Iterable[str] | None = None,
) -> Any:
    """Complete a recipe with the training faces and the seed.

    Args:
        config: The recipe; changed in place.
        section: Section of the parameters, for messages.
        faces: Folder of the training faces.
        image_size: Side of the images that the model reads, in px.
        seed: Seed of the run.
        names: Folders in ``faces`` to use, if it has several; ``None`` for all.

    Returns:
        The dataset.

    Raises:
        ValueError: If there are too few images for one batch, the batch size is not divisible by
            the number of processes, or a part of the schedule is shorter than a step.
    """
    from lh2face.registry import DATASETS

    loader = config.train_dataloader
    # Folders of sources that were removed from the parameters may still exist.
    names = None if names is None else sorted(names)
    loader.dataset.update(root=str(faces), image_size=image_size, names=names)
    dataset = DATASETS.build(loader.dataset)
    try:
        check_schedule(config, steps_per_epoch(len(dataset), loader.batch_size))
    except ValueError as error:
        raise ValueError(f"{section}: {error}") from error
    config.randomness = {**config.get("randomness", {}), "seed": seed}
    # mmengine warns about its own deprecated calls; training.csv records the run anyway.
    config.log_level = "ERROR"
    return dataset


def give_validation(config: "Config", folder: Path | None, names: Iterable[str]) -> None:
    """Configure the validation on pairs of faces.

    Args:
        config: Config of a training; changed in place. Without ``names`` its validation is removed.
        folder: Folder with the aligned validations; ``None`` for no validation.
        names: Names in ``validation`` of ``params.yaml``.

    Raises:
        ValueError: If a validation is missing, or the config has no ``val_dataloader``.
    """
    paths = [] if folder is None else [folder / name for name in names]
    for path in paths:
        if not (path / DESCRIPTION).is_file():
            raise ValueError(f"{path}: no {DESCRIPTION} in it; expected an aligned validation")
    if not paths:
        config.val_dataloader = config.val_evaluator = config.val_cfg = None
    elif config.get("val_dataloader") is None:
        raise ValueError(
            f"train.config: has no val_dataloader for the validation {paths[0].name} of params.yaml"
        )
    else:
        config.val_dataloader.dataset.update(
            paths=list(map(str, paths)), image_size=config.model.backbone.image_size
        )


def give_weights(config: "Config", folder: Path) -> None:
    """Configure the backbone to begin with the weights that stage ``weights`` wrote.

    Args:
        config: Config of a training; changed in place.
        folder: Folder of stage ``weights``.

    Raises:
        ValueError: If the folder is not from that stage.
    """
    weights_from(folder)
    config.model.backbone.init_cfg = {"type": "FaceWeights", "path": str(folder / WEIGHTS)}


def weights_from(folder: Path) -> dict[str, str]:
    """Read the ``path`` and ``digest`` of the source of weights from a folder of stage ``weights``.

    Raises:
        ValueError: If the folder is not from that stage.
    """
    return read_object(folder / PROVENANCE, "a folder of stage weights")
