"""The work folder of a training, ``<out>.work``, which survives an interruption.

It has the checkpoints, the record of the run, and a fingerprint of everything that determines the
result. A training resumes from a checkpoint only if the fingerprint has not changed.
"""

import json
import re
from pathlib import Path
from typing import Any

from lh2face.artifacts.training_record import TRAINING, VALIDATION
from lh2face.distributed.checkpoint_files import names, remove
from lh2face.files.outputs import LOCK
from lh2face.runs.fingerprint import changes
from lh2face.training import LastCheckpointHook, ShardedCheckpointHook
from lh2face.training.best_model import BEST
from lh2face.training.recipe import RECIPE

FINGERPRINT = "fingerprint.json"
RECORDS = (TRAINING, VALIDATION)
# Name of mmengine's folder of a run, with its log and TensorBoard's files.
RUN_FOLDER = re.compile(r"\d{8}_\d{6}")


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
        fingerprint: Fingerprint of the run, from :func:`lh2face.runs.fingerprint.run_fingerprint`.
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
    # RECIPE is the config of the run, which mmengine writes.
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
