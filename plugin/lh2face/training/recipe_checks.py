"""Checks of a recipe before anything runs: all keys are known, and all parts can be built."""

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lh2face.text import first_line
from lh2face.training.recipe import RecipeError, runner_arguments, sizes, suggestion

if TYPE_CHECKING:
    from mmengine.config import Config

    from lh2face.registry import Registry

# Parts of a config that every training needs.
NEEDED = ("model", "train_dataloader", "optim_wrapper", "train_cfg")
# Keys of paramwise_cfg that mmengine reads; it ignores others without a message.
PARAMWISE = {
    "bias_decay_mult", "bias_lr_mult", "bypass_duplicate", "custom_keys", "dcn_offset_lr_mult",
    "dwconv_decay_mult", "flat_decay_mult", "norm_decay_mult",
}  # fmt: skip
# Numbers of classes and of steps in an epoch, for building only; any would do.
CLASSES, STEPS_AN_EPOCH = 16, 1000


def check_recipe(config: "Config", heads: Mapping[str, Mapping[str, Any]]) -> None:
    """Check the recipe of a recognizer.

    Model, optimizer and schedule are built without allocating memory for weights. The arguments of
    all other parts, such as hooks, are checked against their classes.

    Args:
        config: The recipe.
        heads: Configs of the heads to train, by the parameter that holds each; without
            ``num_classes`` and ``in_channels``.

    Raises:
        RecipeError: If a key is unknown or missing, or a value is not allowed.
    """
    import torch

    from lh2face.registry import build

    _check_keys(config)
    shared = {**config.model.to_dict(), "head": None}
    with _without_side_effects():
        with torch.device("meta"):
            model = build("recognizer", shared, "model")
            _check_embedding(model.backbone, shared["backbone"])
            for key, head in heads.items():
                model.head = build("head", {**head, **sizes(config, CLASSES)}, key)
        _check_training(model, config)


def check_reconstruction(config: "Config") -> None:
    """Check the recipe of a reconstructor, in the same way as :func:`check_recipe`.

    Raises:
        RecipeError: If a key is unknown or missing, or a value is not allowed.
    """
    import torch

    from lh2face.registry import build

    _check_keys(config)
    with _without_side_effects():
        with torch.device("meta"):
            model = build("trainer", config.model.to_dict(), "model")
        _check_training(model, config)


def _check_keys(config: "Config") -> None:
    """Check the names of the config's parts, and that none is missing."""
    for name in config.keys() - runner_arguments():
        if close := suggestion(name, runner_arguments()):
            raise RecipeError(f"{name}: unknown{close}")
    for name in NEEDED:
        if not isinstance(config.get(name), Mapping):
            raise RecipeError(f"{name}: expected a mapping, found {config.get(name)!r:.100}")
    if config.get("load_from"):
        raise RecipeError(
            "load_from: use train.init in params.yaml, so that DVC sees changes of the file"
        )


@contextlib.contextmanager
def _without_side_effects() -> Iterator[None]:
    """Suppress printing, and restore the state of PyTorch's generator at the end."""
    import torch

    with torch.random.fork_rng([]), contextlib.redirect_stdout(io.StringIO()):
        yield


def _check_embedding(backbone: Any, config: Mapping[str, Any]) -> None:
    """Check the shape of the embeddings of two images, without allocating memory."""
    import torch

    size, expected = config["image_size"], config["embedding_size"]
    channels = next(one.in_channels for one in backbone.modules() if hasattr(one, "in_channels"))
    with _errors_name(f"model.backbone: {size} px"):
        found = tuple(backbone(torch.zeros(2, channels, size, size, device="meta")).shape)
    if found != (2, expected):
        raise RecipeError(
            f"model.backbone: expected embeddings (2, {expected}) of two images, found {found}"
        )


def _check_training(model: Any, config: "Config") -> None:
    """Check a recipe, except for its model."""
    _check_parts(config)
    _check_optimization(model, config)
    check_schedule(config, STEPS_AN_EPOCH)


def _check_optimization(model: Any, config: "Config") -> None:
    """Build the optimizer for the model's parameters."""
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
    with _errors_name("optim_wrapper"):
        build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))


def check_schedule(config: "Config", steps: int) -> None:
    """Build the schedules of the learning rate, with a separate optimizer.

    Args:
        config: The recipe.
        steps: Number of steps in an epoch.

    Raises:
        RecipeError: If a value is not allowed, or a schedule ends after the training or is shorter
            than a step.
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
        with _errors_name(f"{key}, with {steps} steps per epoch"):
            given = {"optimizer": OptimWrapper(optimizer), "epoch_length": steps}
            PARAM_SCHEDULERS.build(
                {**({"end": epochs} if by_epoch else {}), **one}, default_args=given
            )


def _check_parts(config: "Config") -> None:
    """Check the arguments of hooks, metrics, visualizers, loops and data loaders."""
    from mmengine.registry import HOOKS, LOOPS, METRICS, VISBACKENDS, VISUALIZERS
    from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, ValLoop

    from lh2face.registry import check_arguments

    for key, hook in (*_listed(config, "default_hooks"), *_listed(config, "custom_hooks")):
        if hook is not None:  # None switches off mmengine's default hook of that name
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
    """Check the arguments of the data set, and build the loader with a data set of numbers."""
    from mmengine.runner import Runner

    from lh2face.registry import DATASETS, TRANSFORMS

    size = loader.get("batch_size")
    if type(size) is not int or size < 1:
        raise RecipeError(f"{key}.batch_size: expected a whole number ≥ 1, found {size!r:.100}")
    _check_type(DATASETS, loader.get("dataset"), f"{key}.dataset")
    for name, transform in _listed(loader["dataset"], "pipeline"):
        with _errors_name(f"{key}.dataset.{name}"):
            TRANSFORMS.build(transform)
    with _errors_name(key), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of more workers than cores
        Runner.build_dataloader({**loader, "dataset": range(size)}, seed=0)


def _listed(config: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """Yield the configs under a key, which holds one config, or a list or mapping of configs."""
    found = config.get(key) or []
    if isinstance(found, Mapping):
        found = {"": found} if "type" in found else found
        yield from ((f"{key}.{name}".rstrip("."), one) for name, one in found.items())
    else:
        yield from ((f"{key}.{number}", one) for number, one in enumerate(found))


def _check_type(registry: "Registry", config: Any, key: str) -> None:
    """Check that a config names a registered class, and has only arguments of that class."""
    from lh2face.registry import check_arguments

    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise RecipeError(f"{key}: expected a mapping with a type, found {config!r:.100}")
    cls = registry.get(config["type"])
    if cls is None:
        raise RecipeError(
            f"{key}.type: found {config['type']!r:.100}, which is no registered class of this kind"
        )
    check_arguments(cls, config, key)


@contextlib.contextmanager
def _errors_name(key: str) -> Iterator[None]:
    """Turn any exception inside the context into a ``RecipeError`` that names the key."""
    try:
        yield
    except Exception as error:
        raise RecipeError(f"{key}: {first_line(error):.300}") from error
