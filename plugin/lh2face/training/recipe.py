"""The recipe of a training: an mmengine config, read and checked before anything runs.

The stages put in what only the pipeline knows: the faces, the number of classes, the head, the seed
and the work folder. All else is what the config says; the same file trains with mmengine's
``Runner`` without the pipeline.
"""

import contextlib
import copy
import difflib
import inspect
import io
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.data.manifest import face_folders
from lh2face.text import first_line

if TYPE_CHECKING:
    from mmengine.config import Config

    from lh2face.registry import Registry

# What the pipeline itself decides; the config may have these for a training without the pipeline.
INJECTED = (
    "experiment_name", "launcher", "load_from", "model.backbone.init_cfg", "model.head",
    "randomness.seed", "resume", "train_dataloader.dataset.image_size",
    "train_dataloader.dataset.names", "train_dataloader.dataset.root",
    "val_dataloader.dataset.image_size", "val_dataloader.dataset.paths", "work_dir",
)  # fmt: skip
# Every training stage depends on this folder of the checkout that it runs in.
WATCHED = ("plugin", "lh2face", "configs")
# Under this name, and not that of the user's file, mmengine keeps the config in the work folder.
RECIPE = "recipe.py"
# Parts of a config that a training has.
NEEDED = ("model", "train_dataloader", "optim_wrapper", "train_cfg")
# What mmengine reads of paramwise_cfg; it passes over all else without a word.
PARAMWISE = {
    "bias_decay_mult", "bias_lr_mult", "bypass_duplicate", "custom_keys", "dcn_offset_lr_mult",
    "dwconv_decay_mult", "flat_decay_mult", "norm_decay_mult",
}  # fmt: skip
# What of a data loader changes no result.
LOADING = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")
# Any number will do, as all sizes are checked without memory.
CLASSES, STEPS_AN_EPOCH = 16, 1000


class RecipeError(ValueError):
    """A recipe cannot be used; the message names the key, what was found and what is allowed."""


def load_recipe(path: Path, options: Mapping[str, Any]) -> "Config":
    """Read a config file and put options over it.

    Args:
        path: The mmengine config. Its Python code is run.
        options: Values by dotted name, ``{"optim_wrapper.optimizer.lr": 0.05}``, or nested.
            A number stands for an element of a list. A mapping is put over the one that is there;
            ``_delete_: true`` in it replaces that one.

    Returns:
        The config with the options in it.

    Raises:
        RecipeError: If the file is absent or cannot be read, or an option names what is not there,
            what the pipeline decides, or a module to import.
    """
    from mmengine.config import Config

    if not path.is_file():
        raise RecipeError(f"config: {path}: no such file; expected an mmengine config")
    try:
        _check_watched(path)
        config = Config.fromfile(path)
    except RecipeError:
        raise
    except Exception as error:  # whatever the code of the file raises
        raise RecipeError(f"config: {path}: {first_line(error):.300}") from error
    allowed = {*_runner_arguments(), *config.keys()}
    for name in options:
        first = name.partition(".")[0]
        if first not in allowed:
            raise RecipeError(
                f"options: found {name!r:.100}, which mmengine does not read"
                f"{_meant(first, allowed)}; allowed are {', '.join(sorted(allowed))}"
            )
        if any(f"{name}.".startswith(f"{taken}.") for taken in INJECTED):
            raise RecipeError(f"options: {name}: the pipeline decides it")
    _check_no_code(dict(options), "options")
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise RecipeError(f"options: {first_line(error):.300}") from error
    return Config(config.to_dict(), cfg_text=config.text or "#", filename=RECIPE)


def _check_watched(path: Path) -> None:
    """Refuse a config that reads files which no stage depends on: a change there would be lost."""
    from mmengine.config import Config

    if Config._is_lazy_import(str(path)):
        raise RecipeError(
            f"config: {path}: imports from other configs are not watched; expected _base_ with "
            "registered names"
        )
    for base in Config._get_base_files(str(path)):
        found = Path(Config._get_cfg_path(base, str(path))[0]).resolve()
        if not any(folder.parts[-len(WATCHED) :] == WATCHED for folder in found.parents):
            raise RecipeError(
                f"config: {path}: its _base_ {base} is not watched; allowed are those in "
                f"{'/'.join(WATCHED)}"
            )


def _check_no_code(value: Any, key: str) -> None:
    """Refuse what would make mmengine import a module: only the config itself is code."""
    last = key.rpartition(".")[2]
    if last in ("custom_imports", "_scope_"):
        raise RecipeError(f"{key}: allowed in the config itself only, as it imports a module")
    if last.endswith(("type", "constructor")) and isinstance(value, str) and "." in value:
        raise RecipeError(f"{key}: expected the name of a registered class, found {value!r:.100}")
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else ()
    items = enumerate(value) if isinstance(value, list | tuple) else items
    for name, inner in items:
        _check_no_code(inner, f"{key}.{name}")


def check_recipe(config: "Config", heads: Mapping[str, Mapping[str, Any]]) -> None:
    """Build model, optimizer, schedule and hooks without memory, and check all other arguments.

    Args:
        config: The recipe.
        heads: Configs of the heads to train, by the key that holds each; without ``num_classes``
            and ``in_channels``.

    Raises:
        RecipeError: If anything is unknown, missing or refused.
    """
    import torch

    from lh2face.registry import build

    _check_keys(config)
    shared = {**config.model.to_dict(), "head": None}
    with _aside():
        with torch.device("meta"):
            model = build("recognizer", shared, "model")
            _check_embedding(model.backbone, shared["backbone"])
            for key, head in heads.items():
                model.head = build("head", {**head, **sizes(config, CLASSES)}, key)
        _check_training(model, config)


def check_reconstruction(config: "Config") -> None:
    """Check the recipe of a reconstructor as :func:`check_recipe` does that of a recognizer.

    Raises:
        RecipeError: If anything is unknown, missing or refused.
    """
    import torch

    from lh2face.registry import build

    _check_keys(config)
    with _aside():
        with torch.device("meta"):
            model = build("trainer", config.model.to_dict(), "model")
        _check_training(model, config)


def _check_keys(config: "Config") -> None:
    """Check the names of the config's parts, and that a training has what it needs."""
    for name in config.keys() - _runner_arguments():
        if close := _meant(name, _runner_arguments()):
            raise RecipeError(f"{name}: unknown{close}")
    for name in NEEDED:
        if not isinstance(config.get(name), Mapping):
            raise RecipeError(f"{name}: expected a mapping, found {config.get(name)!r:.100}")
    if config.get("load_from"):
        raise RecipeError("load_from: use train.init, whose file the pipeline watches")


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Print nothing, and draw nothing from PyTorch's generator, which runs depend on."""
    import torch

    with torch.random.fork_rng([]), contextlib.redirect_stdout(io.StringIO()):
        yield


def sizes(config: "Config", num_classes: int) -> dict[str, int]:
    """The arguments of a head that the training faces and the backbone decide."""
    return {"num_classes": num_classes, "in_channels": config.model.backbone.embedding_size}


def decisive(config: "Config") -> dict[str, Any]:
    """What of a run's config decides its result, JSON types only.

    Where the data lie and what loads them is left out: a run may go on with other workers.
    """
    found: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    for name in ("work_dir", "launcher", "resume", "experiment_name", "log_level"):
        found.pop(name, None)
    for key in ("train_dataloader", "val_dataloader"):
        loader = found.get(key) or {"dataset": {}}
        for name in ("root", "names"):
            loader["dataset"].pop(name, None)
        for name in LOADING:
            loader.pop(name, None)
    return found


def faces_of(config: "Config") -> list[Path]:
    """The folders of training faces that a run's config reads."""
    dataset = config.train_dataloader.dataset
    return face_folders(Path(dataset.root), dataset.get("names"))


def _check_embedding(backbone: Any, config: Mapping[str, Any]) -> None:
    """Have the backbone embed two images without memory."""
    import torch

    size, expected = config["image_size"], config["embedding_size"]
    channels = next(one.in_channels for one in backbone.modules() if hasattr(one, "in_channels"))
    with _in_words(f"model.backbone: {size} px"):
        found = tuple(backbone(torch.zeros(2, channels, size, size, device="meta")).shape)
    if found != (2, expected):
        raise RecipeError(f"model.backbone: embeddings of shape {found}, expected (2, {expected})")


def _check_training(model: Any, config: "Config") -> None:
    """Check all of a recipe but its model."""
    _check_parts(config)
    _check_optimization(model, config)
    check_schedule(config, STEPS_AN_EPOCH)


def _check_optimization(model: Any, config: "Config") -> None:
    """Build the optimizer over the model's parameters."""
    from mmengine.optim import build_optim_wrapper
    from torch.nn.utils import clip_grad_norm_, clip_grad_value_

    from lh2face.registry import check, check_arguments

    check("optimizer", config.optim_wrapper.get("optimizer"), "optim_wrapper.optimizer", ["params"])
    if clip := config.optim_wrapper.get("clip_grad"):
        by = clip_grad_value_ if clip.get("type") == "value" else clip_grad_norm_
        check_arguments(by, clip, "optim_wrapper.clip_grad", ["parameters"])
    if unknown := (config.optim_wrapper.get("paramwise_cfg") or {}).keys() - PARAMWISE:
        raise RecipeError(
            f"optim_wrapper.paramwise_cfg: found {sorted(unknown)}, allowed are {sorted(PARAMWISE)}"
        )
    with _in_words("optim_wrapper"):
        build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))


def check_schedule(config: "Config", steps: int) -> None:
    """Build the schedule over an optimizer of its own.

    Args:
        config: The recipe.
        steps: Number of steps in an epoch.

    Raises:
        RecipeError: If anything is refused, ends after the training, or is shorter than a step.
    """
    import torch
    from mmengine.optim import OptimWrapper
    from mmengine.registry import PARAM_SCHEDULERS

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    epochs = config.train_cfg.get("max_epochs")
    for key, one in _listed(config, "param_scheduler"):
        by_epoch = epochs if one.get("by_epoch", True) else None
        for name in ("begin", "end"):
            found = one.get(name, 0)
            if not isinstance(found, int | float) or (by_epoch and found > epochs):
                raise RecipeError(
                    f"{key}.{name}: expected a number up to train_cfg.max_epochs, {epochs}, found "
                    f"{found!r:.100}"
                )
        with _in_words(f"{key}, with {steps} steps an epoch"):
            given = {"optimizer": OptimWrapper(optimizer), "epoch_length": steps}
            PARAM_SCHEDULERS.build(
                {**({"end": epochs} if by_epoch else {}), **one}, default_args=given
            )


def _check_parts(config: "Config") -> None:
    """Check the arguments of all that is built during the training."""
    from mmengine.registry import HOOKS, LOOPS, METRICS, VISBACKENDS, VISUALIZERS
    from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, ValLoop

    from lh2face.registry import check_arguments

    for key, hook in (*_listed(config, "default_hooks"), *_listed(config, "custom_hooks")):
        if hook is not None:  # mmengine's own of that name is left out
            _check_type(HOOKS, hook, key)
    for key, metric in _listed(config, "val_evaluator"):
        _check_type(METRICS, metric, key)
    if visualizer := config.get("visualizer"):
        _check_type(VISUALIZERS, {"type": visualizer.get("type")}, "visualizer")
        for key, backend in _listed(visualizer, "vis_backends"):
            _check_type(VISBACKENDS, backend, f"visualizer.{key}")
    epochs = config.train_cfg.get("max_epochs", 1)
    if type(epochs) is not int or epochs < 1:
        raise RecipeError(
            f"train_cfg.max_epochs: expected a whole number ≥ 1, found {epochs!r:.100}"
        )
    by_epoch = config.train_cfg.get("by_epoch", True)
    loops = {"train_cfg": EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop}
    for key, default in (loops | {"val_cfg": ValLoop}).items():
        loop = {
            name: value for name, value in (config.get(key) or {}).items() if name != "by_epoch"
        }
        _check_type(LOOPS, {"type": default.__name__, **loop}, key)
    check_arguments(Runner.set_randomness, config.get("randomness", {}), "randomness", ["self"])
    for key in ("train_dataloader", "val_dataloader"):
        if config.get(key):
            _check_loader(config[key], key)


def _check_loader(loader: Mapping[str, Any], key: str) -> None:
    """Check the data set's arguments, and build the loader of another data set."""
    from mmengine.runner import Runner

    from lh2face.registry import DATASETS, TRANSFORMS

    size = loader.get("batch_size")
    if type(size) is not int or size < 1:
        raise RecipeError(f"{key}.batch_size: expected a whole number ≥ 1, found {size!r:.100}")
    _check_type(DATASETS, loader.get("dataset"), f"{key}.dataset")
    for name, transform in _listed(loader["dataset"], "pipeline"):
        with _in_words(f"{key}.dataset.{name}"):
            TRANSFORMS.build(transform)
    with _in_words(key), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of more workers than there are cores
        Runner.build_dataloader({**loader, "dataset": range(size)}, seed=0)


def _listed(config: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """The configs under a key, which holds one, a list or a mapping of them."""
    found = config.get(key) or []
    if isinstance(found, Mapping):
        found = {"": found} if "type" in found else found
        yield from ((f"{key}.{name}".rstrip("."), one) for name, one in found.items())
    else:
        yield from ((f"{key}.{number}", one) for number, one in enumerate(found))


def _check_type(registry: "Registry", config: Any, key: str) -> None:
    """Check that a config names a registered class and has only arguments of it."""
    from lh2face.registry import check_arguments

    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise RecipeError(f"{key}: expected a mapping with a type, found {config!r:.100}")
    cls = registry.get(config["type"])
    if cls is None:
        raise RecipeError(
            f"{key}.type: found {config['type']!r:.100}, which is not registered as such a part"
        )
    check_arguments(cls, config, key)


@contextlib.contextmanager
def _in_words(key: str) -> Iterator[None]:
    """Name the key in whatever error comes up."""
    try:
        yield
    except Exception as error:
        raise RecipeError(f"{key}: {first_line(error):.300}") from error


def _runner_arguments() -> set[str]:
    """The keys of a config that mmengine reads, but for those it sets itself."""
    from mmengine.runner import Runner

    return {*inspect.signature(Runner).parameters, "custom_imports", "compile"} - {"cfg"}


def _meant(name: str, allowed: set[str]) -> str:
    """What a key that is not known was perhaps to be."""
    close = difflib.get_close_matches(name, sorted(allowed), 1, 0.85)
    return f"; perhaps {close[0]}" if close else ""
