"""Measure how the time of Snakemake's dry run grows with the number of heads.

    python benchmarks/workflow.py [--heads 5 50] [--seeds 5]

The time should grow no faster than the number of jobs. A copy of the project gets that many heads;
no stage is run. Times are CPU times of ``snakemake --dry-run`` and its child processes, so they
depend little on the load of the machine.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("plugin", "workflow", "Snakefile", "dvc.yaml", ".dvcignore", "params.yaml")


def copy(folder: Path, heads: int, seeds: int) -> None:
    """Copy the project without git, and give it this number of heads and seeds."""
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], cwd=folder, check=True)
    yaml, path = YAML(), folder / "params.yaml"
    values = yaml.load(path)
    names = [f"head{number}" for number in range(heads)]
    values["heads"].update({name: {"type": "CosFaceHead"} for name in names})
    values["compare"].update(
        heads=names, joint_heads=[], models=["untrained", *names], seeds=list(range(seeds))
    )
    yaml.dump(values, path)


def dry_run(folder: Path) -> tuple[float, int]:
    """Measure the CPU seconds of a dry run, and return them with the number of jobs."""
    before = os.times()
    done = subprocess.run(
        ["snakemake", "--dry-run"], cwd=folder, check=True, capture_output=True, text=True
    )
    after = os.times()
    spent = after.children_user + after.children_system
    jobs = re.search(r"^total\s+(\d+)", done.stdout + done.stderr, re.M)
    return spent - before.children_user - before.children_system, int(jobs[1])


def main() -> None:
    """Print the seconds and jobs for both numbers of heads, and the ratio of seconds per job."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, nargs=2, default=(5, 50))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    per_job = []
    for heads in arguments.heads:
        with tempfile.TemporaryDirectory() as folder:
            copy(Path(folder), heads, arguments.seeds)
            seconds, jobs = dry_run(Path(folder))
        per_job.append(seconds / jobs)
        print(f"{heads} heads x {arguments.seeds} seeds: {jobs} jobs, {seconds:.1f} s")
    print(f"with many heads, a job takes {per_job[1] / per_job[0]:.2f} times as long as with few")


if __name__ == "__main__":
    main()
