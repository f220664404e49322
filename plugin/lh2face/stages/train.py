"""Stage ``train``: train a recognizer with one head and one seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.artifacts.provenance import provenance
from lh2face.data.manifest import counts_of, origin_of
from lh2face.runs.fingerprint import run_fingerprint
from lh2face.runs.injection import add_training_faces, give_validation, give_weights, weights_from
from lh2face.runs.run import train_into
from lh2face.training.recipe import deciding_settings, faces_of, sizes

if TYPE_CHECKING:
    from mmengine.config import Config

    from lh2face.params import Params


def run(
    params: "Params",
    aligned_train: Path,
    out: Path,
    *,
    head: str,
    seed: int,
    reconstructor: Path | None = None,
    validation: Path | None = None,
    init: Path | None = None,
) -> None:
    """Train a recognizer and write its folder.

    The folder has ``model.safetensors``, ``model.json``, ``training.csv`` and, with a validation,
    ``validation.csv``. With :class:`~lh2face.training.BestModelHook` the weights are those of the
    best validation. An interrupted run is resumed, see :mod:`lh2face.runs.run`.

    Args:
        params: The parameters; ``sources``, ``train``, ``heads``, ``validation`` and, with a
            reconstructor, ``joint`` are read.
        aligned_train: Folder with ``train.rec``, or with a manifest of faces, or with several
            folders that have manifests, whose faces are joined.
        out: Folder to write.
        head: Name in ``params.heads``.
        seed: Seed of the initial weights, the order of the images, and the augmentation.
        reconstructor: Folder of the fitted reconstructor; if given, both are trained jointly.
        validation: Folder with one folder of stage ``align_benchmark`` for each name in
            ``params.validation``.
        init: Folder of stage ``weights``; used only if ``train.init`` is not empty.

    Raises:
        ValueError: If the head is unknown, there are too few images for one batch or fewer than
            two people, the batch size is not divisible by the number of processes, the folder of
            the reconstructor is not valid, a validation or the weights are missing, or for the
            reasons of :func:`lh2face.runs.run.train_into`.
        NonFiniteError: If the loss, a gradient or a weight becomes NaN or infinite.
        SystemExit: With status 143 after SIGTERM, when the checkpoint is written.
    """
    from lh2face.artifacts.model import load_reconstructor, save_model
    from lh2face.training.best_model import take_best

    init = init if params.train.init else None

    def prepare() -> tuple["Config", dict[str, Any]]:
        config = training_config(params, aligned_train, head, seed, reconstructor, validation, init)
        if reconstructor is not None:
            load_reconstructor(reconstructor)
        return config, run_fingerprint(config, reconstructor)

    def begin(model: Any) -> None:
        if reconstructor is not None:
            model.reconstructor.load_state_dict(load_reconstructor(reconstructor).state_dict())

    def write(folder: Path, model: Any, config: "Config", fingerprint: dict[str, Any]) -> None:
        read = {
            "source": origin_of(faces_of(config)),
            "sources": counts_of(faces_of(config)),
            "train": {
                key: part for key, part in deciding_settings(config).items() if key != "model"
            },
            "joint": params.joint.model_dump() if reconstructor else None,
            "head": {"name": head, **params.heads[head]},
        }
        made = provenance(params=read, data=fingerprint["data"], seed=seed)
        made["init"] = init and weights_from(init)
        made["best"] = take_best(model, Path(config.work_dir))
        save_model(folder, model, config.model.to_dict(), made)

    inputs = [aligned_train, reconstructor, validation, init]
    train_into(out, inputs, f"{head}-{seed}", prepare, write, begin)


def training_config(
    params: "Params",
    aligned_train: Path,
    head: str,
    seed: int,
    reconstructor: Path | None,
    validation: Path | None = None,
    init: Path | None = None,
) -> "Config":
    """Complete the recipe of a run with faces, head, seed, reconstructor, validation and weights.

    Args and errors are those of :func:`run`.

    Returns:
        The mmengine config.
    """
    from mmengine.config import ConfigDict

    from lh2face.artifacts.model import read_reconstructor

    if head not in params.heads:
        raise ValueError(f"head: expected one of {sorted(params.heads)}, found {head!r}")
    config = params.train.recipe()
    size = config.model.backbone.image_size
    dataset = add_training_faces(config, "train", aligned_train, size, seed, params.sources)
    if dataset.num_classes < 2:
        raise ValueError(
            f"{aligned_train}: training needs the faces of at least 2 people, found "
            f"{dataset.num_classes}"
        )
    config.model.head = ConfigDict({**params.heads[head], **sizes(config, dataset.num_classes)})
    if reconstructor is not None:
        config.model.update(
            reconstructor=read_reconstructor(reconstructor), **params.joint.model_dump()
        )
    if config.model.head.type == "ShardedHead":
        config.default_hooks.checkpoint.type = "ShardedCheckpointHook"
    give_validation(config, validation, params.validation)
    if init is not None:
        give_weights(config, init)
    return config
