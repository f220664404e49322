"""The work folder of a training, ``<out>.work``, which survives an interruption.

It has the checkpoints, the record of the run, and a fingerprint of everything that determines the
result. A training resumes from a checkpoint only if the fingerprint has not changed.
"""

import inspect
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.artifacts.provenance import PACKAGES
from lh2face.data.records import face_digests
from lh2face.distributed.checkpoint_files import names, remove
from lh2face.files.digests import digest, joined
from lh2face.files.outputs import LOCK
from lh2face.training import LastCheckpointHook, ShardedCheckpointHook
from lh2face.training.recipe import RECIPE, decisive, faces_of
from lh2face.training.record import RECORD
from lh2face.training.validation import BEST
from lh2face.training.validation import RECORD as VALIDATIONS

if TYPE_CHECKING:
    from mmengine.config import Config

FINGERPRINT = "fingerprint.json"
RECORDS = (RECORD, VALIDATIONS)
PACKAGE = Path(__file__).parents[1]
# Parts of the package that no training uses; after a change there, a run still resumes.
NOT_IN_TRAINING = {"adapters", "cli.py", "demo", "report", "tools"}
# Name of mmengine's folder of a run, with its log and TensorBoard's files.
RUN_FOLDER = re.compile(r"\d{8}_\d{6}")


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
    from lh2face.artifacts.model import RECONSTRUCTOR_WEIGHTS

    resolved = decisive(config)
    weights = None if reconstructor is None else digest(reconstructor / RECONSTRUCTOR_WEIGHTS)
    return {
        "data": face_digests(faces_of(config)),
        "parameters": with_digests(resolved),
        "code": code_digests(resolved["model"]),
        "versions": {name: version(name) for name in PACKAGES},
        "reconstructor": weights,
    }


# Arguments that are paths of files with an influence on the result, by type.
FILES = {"FaceWeights": "path", "PairFaces": "paths"}


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


def checkpoints(work_dir: Path) -> list[Path]:
    """List all checkpoints in a work folder, complete or not."""
    keepers = (LastCheckpointHook, ShardedCheckpointHook)
    named = [path for keeper in keepers for path in names(work_dir / keeper.file_name)]
    return [path for path in named if path.exists()]


def prepare_work_dir(work_dir: Path, fingerprint: dict[str, Any], processes: int) -> None:
    """Prepare a work folder for a run, and print what happens to a checkpoint in it.

    Files of an earlier run with the same fingerprint are kept; those of another run are removed.

    Args:
        work_dir: An existing folder.
        fingerprint: Fingerprint of the run, from :func:`run_fingerprint`.
        processes: Number of processes.

    Raises:
        ValueError: If the files must be removed, and one of them was not written by a training.
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
        # An empty fingerprint still marks the folder as ours if this is interrupted.
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
    """Read the fingerprint of a work folder; empty if the file is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=2), encoding="utf-8")
    new.replace(path)


def written_by_training(work_dir: Path) -> list[Path]:
    """List what a training wrote into its work folder, except the lock and the fingerprint.

    Raises:
        ValueError: If there are other files, or there are files but no fingerprint.
    """
    marked = (work_dir / FINGERPRINT).exists()
    inside = [path for path in work_dir.iterdir() if path.name not in (LOCK, FINGERPRINT)]
    # mmengine writes the config under its own name.
    ours = {f"{FINGERPRINT}.new", BEST, f"{BEST}.new", RECIPE}
    ours |= {name for record in RECORDS for name in (record, f".{record}.new")}
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
