"""Running the parts of the study, each in its own clone of the repository, with one DVC cache."""

import logging
import os
import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lh2face.artifacts.evaluations import read_run
from lh2face.artifacts.provenance import commit
from lh2face.evaluation.metric_names import LESS_IS_BETTER
from lh2face.params import read_yaml
from lh2face.params.overlays import merge
from workflow.study.synthetic.plan import Heads, Plan, folders

COMMAND = "python -m workflow.study run synthetic"
OVERLAY = "overlay.yaml"
# Files tracked by git that a run changes in a clone.
WRITTEN = {"params.yaml", "dvc.lock"}
log = logging.getLogger(__name__)


def run(plan: Plan, out: Path, *, jobs: int, only: list[str]) -> None:
    """Run the parts of the study one after the other; finished work is not repeated.

    Args:
        plan: The study.
        out: Folder of the clones. They have the last commit, without uncommitted changes.
        jobs: Number of models trained in parallel, each on one core.
        only: Names of parts; empty for all of them.

    Raises:
        ValueError: If there is no such part, the part that chooses its heads was not run, or a
            command fails.
    """
    if unknown := set(only) - set(plan.parts):
        raise ValueError(f"parts: found {sorted(unknown)}, allowed are {list(plan.parts)}")
    root = Path.cwd()
    if (commit() or "").endswith("+"):
        log.warning("the parts use the last commit, without your uncommitted changes")
    for name in only or plan.parts:
        part = plan.parts[name]
        chosen = {} if part.models == "candidates" else choose(plan, out, part.tuning)
        for fold, folder in enumerate(folders(out, name, part)):
            clone(root, folder)
            values = overlay(plan, name, fold, chosen)
            targets = [
                re.sub(r"\W", "_", f"evaluate@{model}-{seed}-{plan.benchmark(name)}")
                for model in plan.heads(part, chosen)
                for seed in part.seeds
            ]
            reproduce(root, folder, values, targets, jobs)


def overlay(plan: Plan, name: str, fold: int, chosen: Heads) -> dict[str, Any]:
    """Return the values with which a part, or a fold of it, overrides ``params.yaml``.

    Paths outside of the repository are made absolute.
    """
    values = plan.overlay(name, fold, chosen)
    merged, root = put_over_params(values), Path.cwd()
    for section in ("sources", "benchmarks"):
        for key, config in merged[section].items():
            path = Path(config["path"]).resolve()
            if not path.is_relative_to(root):
                merge(values, {section: {key: {"path": str(path)}}})
    return values


def put_over_params(values: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the working directory, overridden by some values."""
    params = read_yaml(Path("params.yaml"))
    merge(params, deepcopy(values))
    return params


def clone(root: Path, folder: Path) -> None:
    """Make a clone of the last commit, or update an existing clone; earlier results in it stay.

    Raises:
        ValueError: If the folder exists and is not a clone of ``root``, or has edited files that
            the study does not write itself.
    """
    if folder.exists():
        check_clone(root, folder)
    else:
        execute(["git", "clone", "--quiet", root, folder], root)
    execute(["git", "fetch", "--quiet", "origin", "HEAD"], folder)
    execute(["git", "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"], folder)


def check_clone(root: Path, folder: Path) -> None:
    """Raise ``ValueError`` unless a folder is a clone of ``root`` without edited files."""
    # In a plain folder, git would report and change the repository around it.
    top, origin = (
        git(folder, "rev-parse", "--show-toplevel"),
        git(folder, "remote", "get-url", "origin"),
    )
    if not (
        top and origin and Path(top).samefile(folder) and Path(origin).resolve() == root.resolve()
    ):
        raise ValueError(f"{folder}: exists, but is not a clone of {root}; move it away")
    changed = git(folder, "diff", "--name-only", "HEAD").splitlines()
    if edited := sorted(set(changed) - WRITTEN):
        raise ValueError(
            f"{folder}: a run would undo the changes of {edited[0]}; move the folder away"
        )


def git(folder: Path, *command: str) -> str:
    """Return the output of a git command; empty if it fails."""
    done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip()


def reproduce(
    root: Path, folder: Path, values: dict[str, Any], targets: list[str], jobs: int
) -> None:
    """Run the pipeline of a clone up to the target rules."""
    YAML().dump(values, folder / OVERLAY)
    environment = {
        **os.environ,
        "PYTHONPATH": str((folder / "plugin").resolve()),
        "OMP_NUM_THREADS": "1",
    }
    commands = [
        ["lh2face", "params", OVERLAY],
        ["dvc", "config", "--local", "cache.dir", root / ".dvc" / "cache"],
        ["snakemake", "--cores", str(jobs), "--max-threads", "1", "--rerun-incomplete", *targets],
    ]
    for command in commands:
        execute(command, folder, environment)


def execute(
    command: list[str | Path], folder: Path, environment: dict[str, str] | None = None
) -> None:
    """Run a command; if it fails, raise ``ValueError`` with the place of its log."""
    done = subprocess.run(command, cwd=folder, env=environment)
    if done.returncode:
        words = " ".join(map(str, command[:3]))
        raise ValueError(
            f"{folder}: `{words} …` failed; see the output above and {folder / 'logs'}"
        )


def choose(plan: Plan, out: Path, tuning: str) -> Heads:
    """Choose the best candidate of each head by the results of a part that trains candidates.

    Raises:
        ValueError: If that part was not run.
    """
    found = scores(plan, out, tuning)
    best = min if plan.select in LESS_IS_BETTER else max
    return {
        head: best(enumerate(configs), key=lambda one: found[f"{head}-{one[0]}"])[1]
        for head, configs in plan.candidates.items()
    }


def scores(plan: Plan, out: Path, tuning: str) -> dict[str, float]:
    """Compute the mean of the figure ``select`` over the seeds, for each candidate."""
    if not (out / tuning).exists():
        raise ValueError(
            f"{out}: expected the results of {tuning}, which choose the heads, found none; run "
            f"`{COMMAND} {tuning}` first"
        )
    paths = {name: plan.evaluations(out, tuning, name) for name in plan.all_candidates()}
    return {n: float(read_run(*where).figures[plan.select].mean()) for n, where in paths.items()}
