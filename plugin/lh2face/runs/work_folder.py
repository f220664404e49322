"""The folder beside a model in which its training keeps what an interruption must not lose.

``<out>.work`` holds the checkpoints, the record of the run and a fingerprint: all that decides the
result. A training goes on from a checkpoint only if the fingerprint is still the same.
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
# Parts of the package that no training runs; a change there lets a run go on.
NOT_IN_TRAINING = {"adapters", "cli.py", "report", "tools"}
# mmengine's folder of a run, with its log and what TensorBoard reads.
RUN_FOLDER = re.compile(r"\d{8}_\d{6}")


def run_fingerprint(config: "Config", reconstructor: Path | None) -> dict[str, Any]:
    """What decides a run's result, JSON types only.

    ``data``: digests of the faces of each source; ``parameters``: the resolved config; ``code``:
    digests of the package's files and of those that define other classes of the model;
    ``versions``; ``reconstructor``: digest of its weights.

    Where the data lie, how many workers read them and how many processes divide the batch is left
    out: a run may go on with others.
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


# Arguments that are paths of files, whose content decides a result.
FILES = {"FaceWeights": "path", "PairFaces": "paths"}


def with_digests(config: Any) -> Any:
    """A config, JSON types only, with what is in its files in place of where they are."""
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
    """:func:`digest` of a file, or of all files in a folder that other programs did not leave."""
    inside = [path] if path.is_file() else sorted(path.rglob("*"))
    files = [file for file in inside if file.is_file() and not file.name.startswith(".")]
    return joined({str(file.relative_to(path)): digest(file) for file in files})


def code_digests(model: dict[str, Any]) -> dict[str, str]:
    """Digests of the files whose code trains: the package's, and those of a user's own classes.

    Args:
        model: Config of the model.
    """
    from mmengine.registry import WEIGHT_INITIALIZERS

    from lh2face.registry import MODELS

    files = {
        str(name): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if (name := path.relative_to(PACKAGE)).parts[0] not in NOT_IN_TRAINING
    }
    for name in types_in(model):
        path = Path(inspect.getfile(MODELS.get(name) or WEIGHT_INITIALIZERS.get(name)))
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
    except (FileNotFoundError, ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one step."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=2), encoding="utf-8")
    new.replace(path)


def written_by_training(work_dir: Path) -> list[Path]:
    """What a training wrote into its work directory, but for the lock and the mark.

    Raises:
        ValueError: If there is anything else, or the mark is missing.
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
