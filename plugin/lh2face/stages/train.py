"""Stage ``train``: one head, one seed, from aligned records to a trained model."""

import inspect
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lh2face.artifacts.outputs import LOCK, atomic_dir, check_output, exclusive
from lh2face.artifacts.provenance import PACKAGES, digest, digests, provenance
from lh2face.configs import RECOGNITION
from lh2face.distributed import ShardedCheckpointHook
from lh2face.distributed.checkpoint_files import names, remove
from lh2face.distributed.finite import NonFiniteError, in_words
from lh2face.recognizers import LastCheckpointHook
from lh2face.stages.memory import reuse_freed_memory

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

    from lh2face.stages.params import Params

FINGERPRINT = "fingerprint.json"
RECORD = "training.csv"
PACKAGE = Path(__file__).parents[1]
# Parts of the package that no training runs; a change there lets a run go on.
NOT_IN_TRAINING = {"adapters", "cli.py", "evaluation", "report", "study", "tools"}
# mmengine's folder of a run, with its log and what TensorBoard reads.
RUN_FOLDER = re.compile(r"\d{8}_\d{6}")


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
        aligned_train: Folder with ``train.rec``, ``train.idx``, ``property``.
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
    check_output(out, inputs)
    launcher = launcher_of(os.environ)
    if launcher != "none":
        init_dist(launcher)
    reuse_freed_memory()
    work_dir = out.with_name(f"{out.name}.work")
    with ExitStack() as held:

        def prepare() -> tuple["Config", dict[str, Any]]:
            config = training_config(params, aligned_train, head, seed, reconstructor)
            if reconstructor is not None:
                load_reconstructor(reconstructor)
            fingerprint = run_fingerprint(config, aligned_train, reconstructor)
            held.enter_context(exclusive(work_dir))
            prepare_work_dir(work_dir, fingerprint, get_world_size())
            return config, fingerprint["data"]

        config, data = in_main_process(prepare)
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
                "source": params.data.source,
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


def in_main_process(call: Callable[[], Any]) -> Any:
    """What a call in the main process alone returns, given to every process.

    If it raises a ``ValueError`` or ``OSError``, every process ends: :func:`end_all`.
    """
    from mmengine.dist import broadcast_object_list, is_main_process

    error: ValueError | OSError | None = None
    result = [None, False]
    if is_main_process():
        try:
            result = [call(), True]
        except (ValueError, OSError) as raised:
            error = raised
    broadcast_object_list(result)
    if not result[1]:
        end_all(error)
    return result[0]


def end_all(error: Exception | None) -> NoReturn:
    """Raise in the main process, which says what is wrong; end the others with exit code 1.

    Every process must call it. The others wait for the end of the main process, because a
    launcher kills it before it has spoken when one of them ends first.
    """
    from mmengine.dist import barrier, is_main_process

    if is_main_process():
        raise error
    with suppress(RuntimeError):
        barrier()
    sys.exit(1)


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
            f"{aligned_train / 'property'}: training needs the faces of at least 2 people, found "
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
    """What decides a run's result, JSON types only.

    ``data``: digests of the records; ``parameters``: the resolved config; ``code``: digests of the
    package's files and of those that define other classes of the model; ``versions``;
    ``reconstructor``: digest of its weights.

    Where the data lie, how many workers read them and how many processes divide the batch is left
    out: a run may go on with others.
    """
    from mmengine.dist import get_world_size

    from lh2face.artifacts.model import RECONSTRUCTOR_WEIGHTS

    resolved = json.loads(json.dumps(config.to_dict()))
    loader = resolved["train_dataloader"]
    loader.pop("num_workers")
    loader["dataset"].pop("root")
    loader["batch_size"] *= get_world_size()
    weights = None if reconstructor is None else digest(reconstructor / RECONSTRUCTOR_WEIGHTS)
    return {
        "data": digests(*(aligned_train / f for f in ("property", "train.idx", "train.rec"))),
        "parameters": resolved,
        "code": code_digests(resolved["model"]),
        "versions": {name: version(name) for name in PACKAGES},
        "reconstructor": weights,
    }


def code_digests(model: dict[str, Any]) -> dict[str, str]:
    """Digests of the files whose code trains: the package's, and those of a user's own classes.

    Args:
        model: Config of the model.
    """
    from lh2face.registry import MODELS

    files = {
        str(name): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if (name := path.relative_to(PACKAGE)).parts[0] not in NOT_IN_TRAINING
    }
    for name in types_in(model):
        path = Path(inspect.getfile(MODELS.get(name)))
        if not path.is_relative_to(PACKAGE):
            files[name] = path
    return {name: digest(path) for name, path in files.items()}


def types_in(config: Any) -> Iterator[str]:
    """Every ``type`` in a config and the configs inside it."""
    if isinstance(config, dict):
        yield from (value for key, value in config.items() if key == "type")
        for value in config.values():
            yield from types_in(value)


def changes(old: Any, new: Any, name: str = "") -> list[str]:
    """Dotted names of what differs between two fingerprints."""
    if old == new:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [name]
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    parts = [changes(old.get(key), new.get(key), f"{name}.{key}" if name else key) for key in keys]
    return [part for found in parts for part in found]


def checkpoints(work_dir: Path) -> list[Path]:
    """All checkpoints in a work directory, whole or not."""
    keepers = (LastCheckpointHook, ShardedCheckpointHook)
    named = [path for keeper in keepers for path in names(work_dir / keeper.file_name)]
    return [path for path in named if path.exists()]


def prepare_work_dir(work_dir: Path, fingerprint: dict[str, Any], processes: int) -> None:
    """Make a work directory that of this run, and print what becomes of a checkpoint in it.

    What a run of the same fingerprint left is kept; what another one left is removed.

    Args:
        work_dir: An existing folder.
        fingerprint: As from :func:`run_fingerprint`.
        processes: Their number.

    Raises:
        ValueError: If the folder holds anything that a training does not write there.
    """
    path = work_dir / FINGERPRINT
    old = read_fingerprint(path)
    before = old.pop("processes", processes)
    changed = changes(old, fingerprint)
    kept = checkpoints(work_dir)
    if changed:
        ours = written_by_training(work_dir)
        if kept:
            print(f"{work_dir}: training begins again, these changed: {', '.join(changed)}")
        # The mark stays while the rest goes, but is no longer that of any run.
        write_whole(path, {})
        for inside in ours:
            remove(inside)
    elif kept and before != processes:
        print(
            f"{work_dir}: training goes on; number of processes: {processes}, before: {before}; "
            "each step has the same images, but other random draws and rounding"
        )
    write_whole(path, {"processes": processes, **fingerprint})


def read_fingerprint(path: Path) -> dict[str, Any]:
    """What :func:`prepare_work_dir` wrote; nothing if there is no such file or it is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        found = {}
    return found if isinstance(found, dict) else {}


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one step."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=2))
    new.replace(path)


def written_by_training(work_dir: Path) -> list[Path]:
    """What a training wrote into its work directory, but for the lock and the mark.

    Raises:
        ValueError: If there is anything else, or the mark is missing.
    """
    marked = (work_dir / FINGERPRINT).exists()
    inside = [path for path in work_dir.iterdir() if path.name not in (LOCK, FINGERPRINT)]
    # mmengine writes the config under its own name.
    ours = {RECORD, f".{RECORD}.new", f"{FINGERPRINT}.new", RECOGNITION.name}
    ours |= {path.name for path in checkpoints(work_dir)}
    foreign = sorted(
        path.name
        for path in inside
        if not (marked and (path.name in ours or RUN_FOLDER.fullmatch(path.name)))
    )
    if foreign:
        raise ValueError(
            f"{work_dir}: holds what no training wrote: {', '.join(foreign)}; move it away or "
            "choose another output folder"
        )
    return inside


def unwrapped_model(runner: "Runner") -> Any:
    """The recognizer itself, out of what data parallelism wraps it in."""
    return getattr(runner.model, "module", runner.model)
