"""Stage ``train``: one head, one seed, from aligned records to a trained model."""

import hashlib
import json
import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.configs import RECOGNITION
from lh2face.stages.files import atomic_dir
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
    goes on from its last finished epoch, if parameters and data are still the same; it ends equal,
    bit for bit, to one that was not. Under ``torchrun`` the batch is divided over the processes.

    Args:
        params: The parameters; ``train``, ``heads`` and, with a reconstructor, ``joint`` are read.
        aligned_train: Folder with ``train.rec``, ``train.idx``, ``property``.
        out: Folder to write.
        head: Name in ``params.heads``.
        seed: Seed of initial weights, order of the images and augmentation.
        reconstructor: Folder of the fitted reconstructor; given, training is joint.

    Raises:
        ValueError: If the head is unknown, or there are too few images for one batch.
    """
    from mmengine.dist import barrier, init_dist, is_main_process
    from mmengine.runner import Runner

    import lh2face  # noqa: F401  registers, and mends mmengine, before processes start
    from lh2face.registry import HOOKS
    from lh2face.stages.model import save_model

    launcher = "pytorch" if "WORLD_SIZE" in os.environ else "none"
    if launcher == "pytorch":
        init_dist(launcher)
    reuse_freed_memory()
    config = training_config(params, aligned_train, head, seed, reconstructor)
    fingerprint = run_fingerprint(config, aligned_train, reconstructor)
    work_dir = out.with_name(f"{out.name}.work")
    if is_main_process():
        prepare_work_dir(work_dir, fingerprint)
    barrier()
    checkpoint = work_dir / HOOKS.get(config.default_hooks.checkpoint.type).file_name
    config.work_dir = str(work_dir)
    config.launcher = launcher
    # mmengine shares logger, message hub and visualizer between runs of one name and second.
    config.experiment_name = f"{head}-{seed}-{time.time_ns()}"
    if checkpoint.exists():
        config.resume = True
        # The hook reads a folder of sharded proxies itself.
        config.load_from = str(checkpoint) if checkpoint.is_file() else None

    runner = Runner.from_cfg(config)
    if reconstructor is not None:
        load_reconstructor(runner, reconstructor)
    runner.train()
    if is_main_process():
        with atomic_dir(out) as folder:
            provenance = {
                "head": head,
                "seed": seed,
                "source": params.data.source,
                "train": params.train.model_dump(exclude={"workers"}),
                **fingerprint,
            }
            model = unwrapped_model(runner)
            save_model(folder, model, config.model.to_dict(), provenance)
            shutil.copyfile(work_dir / "training.csv", folder / "training.csv")
        checkpoint.unlink() if checkpoint.is_file() else shutil.rmtree(checkpoint)
    barrier()


def training_config(
    params: "Params", aligned_train: Path, head: str, seed: int, reconstructor: Path | None
) -> "Config":
    """The mmengine config of a run: ``configs/recognition.py`` with the parameters put in."""
    from mmengine.config import Config
    from mmengine.dist import get_world_size

    from lh2face.registry import DATASETS
    from lh2face.stages.model import recognizer_config

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
        "data": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in read},
    }


def prepare_work_dir(work_dir: Path, fingerprint: dict[str, Any]) -> None:
    """Keep a work directory with this fingerprint; otherwise begin an empty one."""
    path = work_dir / FINGERPRINT
    text = json.dumps(fingerprint, indent=2)
    if path.exists() and path.read_text() == text:
        return
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
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
