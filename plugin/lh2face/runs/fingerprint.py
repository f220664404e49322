"""The fingerprint of a training: everything that determines its result."""

import inspect
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.artifacts.file_names import RECONSTRUCTOR_WEIGHTS
from lh2face.artifacts.provenance import PACKAGES
from lh2face.data.records import face_digests
from lh2face.files.digests import digest, joined
from lh2face.training.recipe import deciding_settings, faces_of

if TYPE_CHECKING:
    from mmengine.config import Config

PACKAGE = Path(__file__).parents[1]
# Parts of the package that no training uses; after a change there, a run still resumes.
NOT_IN_TRAINING = {"adapters", "cli.py", "demo", "report", "tools"}
# Arguments that are paths of files with an influence on the result, by type.
FILES = {"FaceWeights": "path", "PairFaces": "paths"}


def run_fingerprint(config: "Config", reconstructor: Path | None) -> dict[str, Any]:
    """Collect everything that determines the result of a run, JSON types only.

    The location of the data and the numbers of workers and processes are not included, so a run
    resumes after they change.

    Args:
        config: The completed config.
        reconstructor: Folder of the reconstructor; ``None`` if there is none.

    Returns:
        ``data``: digests of the faces of each source; ``parameters``: the resolved config;
        ``code``: digests of the package's files and of the files of the user's own classes;
        ``versions`` of packages; ``reconstructor``: digest of its weights.
    """
    resolved = deciding_settings(config)
    weights = None if reconstructor is None else digest(reconstructor / RECONSTRUCTOR_WEIGHTS)
    return {
        "data": face_digests(faces_of(config)),
        "parameters": with_digests(resolved),
        "code": code_digests(resolved["model"]),
        "versions": {name: version(name) for name in PACKAGES},
        "reconstructor": weights,
    }


def with_digests(config: Any) -> Any:
    """Replace the paths in a config (JSON types only) by digests of the files."""
    if isinstance(config, list):
        return [with_digests(one) for one in config]
    if not isinstance(config, dict):
        return config
    found = {key: with_digests(value) for key, value in config.items()}
    if (key := FILES.get(config.get("type", ""))) in config:
        paths = config[key] if isinstance(config[key], list) else [config[key]]
        found[key] = [content_digest(Path(path)) for path in paths]
    return found


def content_digest(path: Path) -> str:
    """Compute the digest of a file, or of all files in a folder except hidden ones."""
    inside = [path] if path.is_file() else sorted(path.rglob("*"))
    files = [file for file in inside if file.is_file() and not file.name.startswith(".")]
    return joined({str(file.relative_to(path)): digest(file) for file in files})


def code_digests(model: dict[str, Any]) -> dict[str, str]:
    """Compute digests of the source files of a training: the package's and the user's classes.

    Args:
        model: Config of the model.

    Returns:
        Digests by path in the package, or by type for the classes of a user.
    """
    from mmengine.registry import WEIGHT_INITIALIZERS

    from lh2face.registry import MODELS

    files = {
        str(name): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if (name := path.relative_to(PACKAGE)).parts[0] not in NOT_IN_TRAINING
    }
    for kind in types_in(model):
        path = Path(inspect.getfile(MODELS.get(kind) or WEIGHT_INITIALIZERS.get(kind)))
        if not path.is_relative_to(PACKAGE):
            files[kind] = path
    return {name: digest(path) for name, path in files.items()}


def types_in(config: Any) -> Iterator[str]:
    """Yield every ``type`` in a config and in the configs inside it."""
    if isinstance(config, dict):
        yield from (value for key, value in config.items() if key == "type")
        for value in config.values():
            yield from types_in(value)


def changes(old: Any, new: Any, name: str = "") -> list[str]:
    """List the dotted names of all differences between two fingerprints."""
    if old == new:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [name]
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    parts = [changes(old.get(key), new.get(key), f"{name}.{key}" if name else key) for key in keys]
    return [part for found in parts for part in found]
