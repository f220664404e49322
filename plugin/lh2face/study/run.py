"""Runs the parts of the study: each is the pipeline in a clone, and all clones share one cache."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lh2face.stages.comparison import read_run
from lh2face.study.plan import Heads, Plan, folders

OVERLAY = "overlay.yaml"


def run(plan: Plan, out: Path, *, jobs: int, only: list[str]) -> None:
    """Run the study's parts, one after the other; what has been run already is not run again.

    Args:
        plan: The study.
        out: Folder of the clones. They are of the last commit: what is not committed is not in it.
        jobs: Models trained side by side, each on one core.
        only: Names of parts; empty for all of them.

    Raises:
        ValueError: If there is no such part.
        subprocess.CalledProcessError: If a part fails; the logs are in its folder ``logs``.
    """
    if unknown := set(only) - set(plan.parts):
        raise ValueError(f"parts: found {sorted(unknown)}, allowed are {list(plan.parts)}")
    root = Path.cwd()
    for name in only or plan.parts:
        part = plan.parts[name]
        chosen = {} if part.models == "candidates" else choose(plan, out)
        for fold, folder in enumerate(folders(out, name, part)):
            clone(root, folder)
            values = plan.overlay(name, fold, chosen)
            targets = [
                re.sub(r"\W", "_", f"evaluate@{model}-{seed}")
                for model in plan.heads(part, chosen)
                for seed in part.seeds
            ]
            reproduce(root, folder, values, targets, jobs)


def clone(root: Path, folder: Path) -> None:
    """A clone of the last commit, with what has been made in it before."""
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", root, folder], check=True)
    git = ["git", "-C", folder]
    subprocess.run([*git, "fetch", "--quiet", "origin", "HEAD"], check=True)
    subprocess.run([*git, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"], check=True)


def reproduce(
    root: Path, folder: Path, values: dict[str, Any], targets: list[str], jobs: int
) -> None:
    """Run the pipeline of a clone as far as some of its rules."""
    photos = values.get("data", {}).get("image_folder", {})
    if "root" in photos:
        photos["root"] = str((root / photos["root"]).resolve())
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
        subprocess.run(command, cwd=folder, env=environment, check=True)


def choose(plan: Plan, out: Path) -> Heads:
    """Of each head the candidate that is best on the people of the part ``tuning``."""
    found = scores(plan, out)
    return {
        head: max(enumerate(configs), key=lambda one: found[f"{head}-{one[0]}"])[1]
        for head, configs in plan.candidates.items()
    }


def scores(plan: Plan, out: Path) -> dict[str, float]:
    """What ``select`` is for each candidate, the mean over the seeds."""
    runs = out / "tuning" / "runs"
    return {
        name: float(read_run(runs / name).figures[plan.select].mean())
        for name in plan.all_candidates()
    }
