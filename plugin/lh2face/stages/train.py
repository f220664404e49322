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
from lh2face.configs import RECOGNITION
from lh2face.data.manifest import counts_of, origin_of
from lh2face.distributed.checkpoint_files import remove
from lh2face.distributed.finite import NonFiniteError, in_words
from lh2face.distributed.main_process import end_all, in_main_process
from lh2face.stages.memory import reuse_freed_memory
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

        def prepare() -> tuple["Config", dict[str, Any], dict[str, Any]]:
            config = training_config(params, aligned_train, head, seed, reconstructor)
            if reconstructor is not None:
                load_reconstructor(reconstructor)
            fingerprint = run_fingerprint(config, aligned_train, reconstructor)
            held.enter_context(exclusive(work_dir))
            prepare_work_dir(work_dir, fingerprint, get_world_size())
            faces = {"source": origin_of(aligned_train), "sources": counts_of(aligned_train)}
            return config, fingerprint["data"], faces

        config, data, faces = in_main_process(prepare)
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
                **faces,
                "train": params.train.model_dump(exclude={"workers"}),
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
    """The mmengine config of a run: ``configs/recognition.py`` with the parameters put in."""
    from mmengine.config import Config
    from mmengine.dist import get_world_size

    from lh2face.artifacts.model import read_reconstructor, recognizer_config
    from lh2face.registry import DATASETS

    train = params.train
    if head not in params.heads:
        raise ValueError(f"head: expected one of {sorted(params.heads)}, found {head!r}")
    config = Config.fromfile(RECOGNITION)
    loader = config.train_dataloader
    loader.dataset.update(root=str(aligned_train), image_size=train.image_size)
    dataset = DATASETS.build(loader.dataset)
    steps = len(dataset) // train.batch_size
    if steps == 0:
        raise ValueError(
            f"train.batch_size: {train.batch_size} is more than the {len(dataset)} images of "
            f"{aligned_train}"
        )
    if dataset.num_classes < 2:
        raise ValueError(
            f"{aligned_train}: training needs the faces of at least 2 people, found "
            f"{dataset.num_classes}"
        )
    if train.batch_size % get_world_size():
        raise ValueError(
            f"train.batch_size: {train.batch_size} images cannot be divided evenly over "
            f"{get_world_size()} processes"
        )
    config.model.update(recognizer_config(train.backbone, train.image_size))
    config.model.head = {
        **params.heads[head],
        "num_classes": dataset.num_classes,
        "in_channels": config.model.backbone.embedding_size,
    }
    if config.model.head.type == "ShardedHead":
        config.default_hooks.checkpoint = {"type": "ShardedCheckpointHook"}
    if reconstructor is not None:
        config.model.update(
            reconstructor=read_reconstructor(reconstructor), **params.joint.model_dump()
        )
    loader.update(
        batch_size=train.batch_size // get_world_size(),
        num_workers=train.workers,
        # Starting them anew costs more than an epoch out of the cache; they draw no random numbers.
        persistent_workers=train.workers > 0,
    )
    # The parts that are not to decay need something to be exempt from.
    config.optim_wrapper.optimizer = {"weight_decay": 0.0, **train.optimizer}
    config.param_scheduler = schedule(steps * train.epochs, round(steps * train.warmup_epochs))
    config.train_cfg.max_epochs = train.epochs
    config.randomness = {"seed": seed}
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


def schedule(steps: int, warmup: int) -> list[dict[str, Any]]:
    """Learning rate: linear warm-up over ``warmup`` steps, then half a cosine down to 0."""
    parts = [
        {"type": "LinearLR", "start_factor": 0.01, "begin": 0, "end": warmup},
        {"type": "CosineAnnealingLR", "T_max": steps - warmup, "begin": warmup, "end": steps},
    ]
    return [{**part, "by_epoch": False} for part in parts if part["end"] > part["begin"]]


def unwrapped_model(runner: "Runner") -> Any:
    """The recognizer itself, out of what data parallelism wraps it in."""
    return getattr(runner.model, "module", runner.model)
