"""Reading the recipe of a training, which is an mmengine config.

The stages set only what the pipeline decides: the faces, the number of classes, the head, the seed
and the work folder. Everything else comes from the config. So the same file also works without the
pipeline, with mmengine's ``Runner``. :mod:`~lh2face.training.recipe_checks` checks recipes.
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

# Keys that the pipeline sets. A config may have them, for use without the pipeline; options may
# not.
INJECTED = (
    "experiment_name", "launcher", "load_from", "model.backbone.init_cfg", "model.head",
    "randomness.seed", "resume", "train_dataloader.dataset.image_size",
    "train_dataloader.dataset.names", "train_dataloader.dataset.root",
    "val_dataloader.dataset.image_size", "val_dataloader.dataset.paths", "work_dir",
)  # fmt: skip
# The folder of the checkout that every training stage depends on.
WATCHED = ("plugin", "lh2face", "configs")
# Name under which mmengine stores the config in the work folder, whatever the user's file is
# called.
RECIPE = "recipe.py"
# Settings of a data loader that do not change the result.
LOADING = ("num_workers", "persistent_workers", "pin_memory", "prefetch_factor")


class RecipeError(ValueError):
    """A recipe cannot be used; the message names the key, what was found and what is allowed."""


def load_recipe(path: Path, options: Mapping[str, Any]) -> "Config":
    """Read a config file, and override it by options.

    Args:
        path: The mmengine config. Its Python code is run.
        options: Values by dotted name, such as ``{"optim_wrapper.optimizer.lr": 0.05}``, or nested.
            A number in a name is the index of an element of a list. A mapping is merged into the
            config's mapping; with ``_delete_: true`` it replaces the config's mapping.

    Returns:
        The config with the options in it.

    Raises:
        RecipeError: If the file is missing or cannot be read, or an option is unknown, is set by
            the pipeline, or would import a module.
    """
    from mmengine.config import Config

    if not path.is_file():
        raise RecipeError(f"config: {path}: no such file; expected an mmengine config")
    try:
        _check_watched(path)
        config = Config.fromfile(path)
    except RecipeError:
        raise
    except Exception as error:  # the code of the file may raise anything
        raise RecipeError(f"config: {path}: {first_line(error):.300}") from error
    allowed = {*runner_arguments(), *config.keys()}
    for name in options:
        first = name.partition(".")[0]
        if first not in allowed:
            raise RecipeError(
                f"options: found {name!r:.100}, which mmengine does not read"
                f"{suggestion(first, allowed)}; allowed are {', '.join(sorted(allowed))}"
            )
        if any(f"{name}.".startswith(f"{taken}.") for taken in INJECTED):
            raise RecipeError(f"options: {name}: the pipeline sets it, so no option may")
    _check_no_code(dict(options), "options")
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise RecipeError(f"options: {first_line(error):.300}") from error
    return Config(config.to_dict(), cfg_text=config.text or "#", filename=RECIPE)


def _check_watched(path: Path) -> None:
    """Refuse a config that reads files on which no stage depends.

    If such a file changed, DVC would not train again.
    """
    from mmengine.config import Config

    if Config._is_lazy_import(str(path)):
        raise RecipeError(
            f"config: {path}: DVC does not see changes of configs that are imported; expected "
            "_base_ with registered names"
        )
    for base in Config._get_base_files(str(path)):
        found = Path(Config._get_cfg_path(base, str(path))[0]).resolve()
        if not any(folder.parts[-len(WATCHED) :] == WATCHED for folder in found.parents):
            raise RecipeError(
                f"config: {path}: DVC does not see changes of its _base_ {base}; allowed are the "
                f"configs in {'/'.join(WATCHED)}"
            )


def _check_no_code(value: Any, key: str) -> None:
    """Refuse values that make mmengine import a module; only the config itself may contain code."""
    last = key.rpartition(".")[2]
    if last in ("custom_imports", "_scope_"):
        raise RecipeError(f"{key}: allowed in the config only, because it imports a module")
    if last.endswith(("type", "constructor")) and isinstance(value, str) and "." in value:
        raise RecipeError(f"{key}: expected the name of a registered class, found {value!r:.100}")
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else ()
    items = enumerate(value) if isinstance(value, list | tuple) else items
    for name, inner in items:
        _check_no_code(inner, f"{key}.{name}")


def sizes(config: "Config", num_classes: int) -> dict[str, int]:
    """Return the arguments of a head that follow from the training faces and the backbone."""
    return {"num_classes": num_classes, "in_channels": config.model.backbone.embedding_size}


def deciding_settings(config: "Config") -> dict[str, Any]:
    """Return the parts of a run's config that decide its result, in JSON types.

    The place of the data and the settings of loading are left out. So a run can be resumed with a
    different number of workers.
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
    """Return the folders of training faces that a run's config reads."""
    dataset = config.train_dataloader.dataset
    return face_folders(Path(dataset.root), dataset.get("names"))


def runner_arguments() -> set[str]:
    """Return the keys of a config that mmengine reads, without ``cfg``, the config itself."""
    from mmengine.runner import Runner

    return {*inspect.signature(Runner).parameters, "custom_imports", "compile"} - {"cfg"}


def suggestion(name: str, allowed: set[str]) -> str:
    """Return the end of a message that suggests the allowed key closest to an unknown one."""
    close = difflib.get_close_matches(name, sorted(allowed), 1, 0.85)
    return f"; perhaps {close[0]}" if close else ""
