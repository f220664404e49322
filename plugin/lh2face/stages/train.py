"""Stage ``train``: one head, one seed, from aligned records to a trained model."""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.artifacts.outputs import atomic_dir, check_output, exclusive
from lh2face.artifacts.provenance import provenance
from lh2face.data.manifest import origin_of
from lh2face.distributed.checkpoint_files import remove
from lh2face.distributed.finite import NonFiniteError, in_words
from lh2face.distributed.main_process import end_all, in_main_process
from lh2face.stages.memory import reuse_freed_memory
from lh2face.stages.recipe import decisive, sizes
from lh2face.stages.work_folder import RECORD, checkpoints, prepare_work_dir, run_fingerprint
from lh2face.text import check_utf8

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

    from lh2face.stages.params import Params


def run(
    params: "Params",
    aligned_train: Path,
    out: Path,
    *,
    head: str,
    seed: int,
    reconstructor: Path | None = None,
) -> None:
    """Train a recognizer and write its folder: ``model.safetensors``, ``model.json``,
    ``training.csv``.

    Checkpoints and TensorBoard's files are kept in ``<out>.work``. A run that was interrupted
    goes on from its last finished epoch whose checkpoint is whole; in one process on a CPU it
    ends equal, bit for bit, to one that was not. It begins again, and says what differs, if
    parameters, data, code, versions or the reconstructor are no longer the same. Under
    ``torchrun`` or ``srun`` the batch is divided over the processes, on one machine or several;
    another number of processes goes on from the same checkpoint.

    Args:
        params: The parameters; ``train``, ``heads`` and, with a reconstructor, ``joint`` are read.
        aligned_train: Folder with ``train.rec``, or with a manifest of faces, or with several
            folders of the latter kind, whose faces are joined.
        out: Folder to write.
        head: Name in ``params.heads``.
        seed: Seed of initial weights, order of the images and augmentation.
        reconstructor: Folder of the fitted reconstructor; given, training is joint.

    Raises:
        ValueError: If the head is unknown, there are too few images for one batch or fewer than
            two people, the processes do not divide the batch, the reconstructor's folder is none,
            ``<out>.work`` holds what this function did not write, or another process trains into
            the same folder.
        NonFiniteError: If the loss, a gradient or a weight becomes NaN or infinite. The last
            checkpoint is kept, and no model is written.
    """
    from mmengine.dist import barrier, get_world_size, init_dist, is_main_process
    from mmengine.runner import Runner

    from lh2face.artifacts.model import load_reconstructor, save_model

    inputs = [aligned_train, reconstructor]
    check_utf8(out)
    check_output(out, inputs)
    launcher = launcher_of(os.environ)
    if launcher != "none":
        init_dist(launcher)
    reuse_freed_memory()
    work_dir = out.with_name(f"{out.name}.work")
    with ExitStack() as held:

        def prepare() -> tuple["Config", dict[str, Any], str]:
            config = training_config(params, aligned_train, head, seed, reconstructor)
            if reconstructor is not None:
                load_reconstructor(reconstructor)
            fingerprint = run_fingerprint(config, aligned_train, reconstructor)
            held.enter_context(exclusive(work_dir))
            prepare_work_dir(work_dir, fingerprint, get_world_size())
            return config, fingerprint["data"], origin_of(aligned_train)

        config, data, origin = in_main_process(prepare)
        config.launcher = launcher
        config.resume = True
        # mmengine shares logger, message hub and visualizer between runs of one name and second.
        config.experiment_name = f"{head}-{seed}-{time.time_ns()}"
        config.work_dir = str(work_dir)
        runner = Runner.from_cfg(config)
        model = unwrapped_model(runner)
        if reconstructor is not None:
            model.reconstructor.load_state_dict(load_reconstructor(reconstructor).state_dict())
        try:
            runner.train()
        except NonFiniteError as error:
            end_all(error)
        except ValueError as error:  # of a head or a record, perhaps in this process alone
            raise ValueError(in_words(runner, runner.iter + 1, str(error))) from error
        if is_main_process():
            read = {
                "source": origin,
                "train": {key: part for key, part in decisive(config).items() if key != "model"},
                "joint": params.joint.model_dump() if reconstructor else None,
                "head": {"name": head, **params.heads[head]},
            }
            made = provenance(params=read, data=data, seed=seed)
            with atomic_dir(out, inputs) as folder:
                save_model(folder, model, config.model.to_dict(), made)
                shutil.copyfile(work_dir / RECORD, folder / RECORD)
            for path in checkpoints(work_dir):
                remove(path)
        barrier()


def training_config(
    params: "Params", aligned_train: Path, head: str, seed: int, reconstructor: Path | None
) -> "Config":
    """The mmengine config of a run: the recipe with faces, head, seed and reconstructor put in."""
    from mmengine.config import ConfigDict
    from mmengine.dist import get_world_size

    from lh2face.artifacts.model import read_reconstructor
    from lh2face.registry import DATASETS

    if head not in params.heads:
        raise ValueError(f"head: expected one of {sorted(params.heads)}, found {head!r}")
    config = params.train.recipe()
    loader = config.train_dataloader
    loader.dataset.update(root=str(aligned_train), image_size=config.model.backbone.image_size)
    dataset = DATASETS.build(loader.dataset)
    if dataset.num_classes < 2:
        raise ValueError(
            f"{aligned_train}: training needs the faces of at least 2 people, found "
            f"{dataset.num_classes}"
        )
    if loader.batch_size > len(dataset):
        raise ValueError(
            f"train: train_dataloader.batch_size: {loader.batch_size} is more than the "
            f"{len(dataset)} images of {aligned_train}"
        )
    if loader.batch_size % get_world_size():
        raise ValueError(
            f"train: train_dataloader.batch_size: {loader.batch_size} images cannot be divided "
            f"evenly over {get_world_size()} processes"
        )
    loader.batch_size //= get_world_size()
    config.model.head = ConfigDict({**params.heads[head], **sizes(config, dataset.num_classes)})
    if reconstructor is not None:
        config.model.update(
            reconstructor=read_reconstructor(reconstructor), **params.joint.model_dump()
        )
    if config.model.head.type == "ShardedHead":
        config.default_hooks.checkpoint.type = "ShardedCheckpointHook"
    config.randomness = {**config.get("randomness", {}), "seed": seed}
    # mmengine warns of its own use of what it deprecates; the record says what a run does.
    config.log_level = "ERROR"
    return config


def launcher_of(environment: Mapping[str, str]) -> str:
    """mmengine's name for what started this process: ``torchrun``, ``srun``, or neither."""
    if "WORLD_SIZE" in environment:
        return "pytorch"
    # A batch script's shell has Slurm's variables too, but is no task of several.
    several = int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1
    return "slurm" if several and "SLURM_PROCID" in environment else "none"


def unwrapped_model(runner: "Runner") -> Any:
    """The recognizer itself, out of what data parallelism wraps it in."""
    return getattr(runner.model, "module", runner.model)
