"""The recipe of a training: an mmengine config. :mod:`~lh2face.training.recipe_checks` checks it.

The stages put in what only the pipeline knows: the faces, the number of classes, the head, the seed
and the work folder. All else is what the config says; the same file trains with mmengine's
``Runner`` without the pipeline.
"""

import difflib
import inspect
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.data.manifest import face_folders
from lh2face.text import first_line

if TYPE_CHECKING:
    from mmengine.config import Config

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
# What of a data loader changes no result.
LOADING = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")


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
    allowed = {*runner_arguments(), *config.keys()}
    for name in options:
        first = name.partition(".")[0]
        if first not in allowed:
            raise RecipeError(
                f"options: found {name!r:.100}, which mmengine does not read"
                f"{meant(first, allowed)}; allowed are {', '.join(sorted(allowed))}"
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


def runner_arguments() -> set[str]:
    """The keys of a config that mmengine reads, but for those it sets itself."""
    from mmengine.runner import Runner

    return {*inspect.signature(Runner).parameters, "custom_imports", "compile"} - {"cfg"}


def meant(name: str, allowed: set[str]) -> str:
    """What a key that is not known was perhaps to be."""
    close = difflib.get_close_matches(name, sorted(allowed), 1, 0.85)
    return f"; perhaps {close[0]}" if close else ""
