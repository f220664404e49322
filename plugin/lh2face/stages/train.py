"""Stage ``train``: one head, one seed, from aligned records to a trained model."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.artifacts.outputs import LOCK, atomic_dir, check_output, exclusive
from lh2face.artifacts.provenance import digests, provenance
from lh2face.configs import RECOGNITION
from lh2face.stages.memory import reuse_freed_memory

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

    from lh2face.stages.params import Params

FINGERPRINT = "fingerprint.json"
RECONSTRUCTOR_WEIGHTS = "reconstructor.safetensors"


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
    goes on from its last finished epoch, if parameters and data are still the same and the
    checkpoint is whole; it ends equal, bit for bit, to one that was not. Under ``torchrun`` or
    ``srun`` the batch is divided over the processes, on one machine or several.

    Args:
        params: The parameters; ``train``, ``heads`` and, with a reconstructor, ``joint`` are read.
        aligned_train: Folder with ``train.rec``, ``train.idx``, ``property``.
        out: Folder to write.
        head: Name in ``params.heads``.
        seed: Seed of initial weights, order of the images and augmentation.
        reconstructor: Folder of the fitted reconstructor; given, training is joint.

    Raises:
        ValueError: If the head is unknown, there are too few images for one batch, or another
            process trains into the same folder.
    """
    from mmengine.dist import barrier, init_dist, is_main_process
    from mmengine.runner import Runner

    import lh2face  # noqa: F401  registers, and mends mmengine, before processes start
    from lh2face.artifacts.model import save_model
    from lh2face.registry import HOOKS

    inputs = [aligned_train, reconstructor]
    check_output(out, inputs)
    launcher = launcher_of(os.environ)
    if launcher != "none":
        init_dist(launcher)
    reuse_freed_memory()
    config = training_config(params, aligned_train, head, seed, reconstructor)
    fingerprint = run_fingerprint(config, aligned_train, reconstructor)
    config.launcher = launcher
    # mmengine shares logger, message hub and visualizer between runs of one name and second.
    config.experiment_name = f"{head}-{seed}-{time.time_ns()}"
    work_dir = out.with_name(f"{out.name}.work")
    config.work_dir = str(work_dir)
    keeper = HOOKS.get(config.default_hooks.checkpoint.type)
    checkpoint = work_dir / keeper.file_name
    with exclusive(work_dir) if is_main_process() else nullcontext():
        if is_main_process():
            prepare_work_dir(work_dir, fingerprint)
            if checkpoint.exists() and not keeper.is_whole(checkpoint):
                print(f"{checkpoint}: damaged or cut short; training begins again", flush=True)
                keeper.remove(checkpoint)
        barrier()
        if checkpoint.exists():
            config.resume = True
            # The hook reads a folder of sharded proxies itself.
            config.load_from = str(checkpoint) if checkpoint.is_file() else None
        runner = Runner.from_cfg(config)
        if reconstructor is not None:
            load_reconstructor(runner, reconstructor)
        runner.train()
        if is_main_process():
            read = {
                "source": params.data.source,
                "train": params.train.model_dump(exclude={"workers"}),
                "joint": params.joint.model_dump() if reconstructor else None,
                "head": {"name": head, **params.heads[head]},
            }
            made = provenance(params=read, data=fingerprint["data"], seed=seed)
            with atomic_dir(out, inputs) as folder:
                save_model(folder, unwrapped_model(runner), config.model.to_dict(), made)
                shutil.copyfile(work_dir / "training.csv", folder / "training.csv")
            keeper.remove(checkpoint)
        barrier()


def training_config(
    params: "Params", aligned_train: Path, head: str, seed: int, reconstructor: Path | None
) -> "Config":
    """The mmengine config of a run: ``configs/recognition.py`` with the parameters put in."""
    from mmengine.config import Config
    from mmengine.dist import get_world_size

    from lh2face.artifacts.model import recognizer_config
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
            reconstructor=reconstructor_config(reconstructor), **params.joint.model_dump()
        )
    loader.update(
        batch_size=train.batch_size // get_world_size(),
        num_workers=train.workers,
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


def run_fingerprint(
    config: "Config", aligned_train: Path, reconstructor: Path | None
) -> dict[str, Any]:
    """What decides a run's result: versions, the resolved config, digests of the data.

    Where the data lie and how many workers read them is left out: neither changes the result.
    """
    resolved = config.to_dict()
    loader = resolved["train_dataloader"]
    loader.pop("num_workers")
    loader["dataset"].pop("root")
    read = [aligned_train / "property", aligned_train / "train.idx"]
    if reconstructor is not None:
        read.append(reconstructor / RECONSTRUCTOR_WEIGHTS)
    return {
        "versions": {name: version(name) for name in ("lh2face", "torch", "mmengine")},
        "config": hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest(),
        "data": digests(*read),
    }


def prepare_work_dir(work_dir: Path, fingerprint: dict[str, Any]) -> None:
    """Keep what a work directory of this fingerprint holds; empty any other but for its lock."""
    path = work_dir / FINGERPRINT
    text = json.dumps(fingerprint, indent=2)
    if path.exists() and path.read_text() == text:
        return
    # The fingerprint goes first: what a kill leaves of the rest is then never taken for this run.
    path.unlink(missing_ok=True)
    for old in work_dir.iterdir():
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        elif old.name != LOCK:
            old.unlink()
    path.write_text(text)


def unwrapped_model(runner: "Runner") -> Any:
    """The recognizer itself, out of what data parallelism wraps it in."""
    return getattr(runner.model, "module", runner.model)


def reconstructor_config(folder: Path) -> dict[str, Any]:
    """Config of the reconstructor that stage ``fit3d`` wrote."""
    return json.loads((folder / "model.json").read_text())["reconstructor"]


def load_reconstructor(runner: "Runner", folder: Path) -> None:
    """Start joint training from the fitted reconstructor's weights."""
    from safetensors.torch import load_file

    weights = load_file(folder / RECONSTRUCTOR_WEIGHTS)
    unwrapped_model(runner).reconstructor.load_state_dict(weights)
