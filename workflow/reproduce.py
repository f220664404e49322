"""Run ``dvc repro`` with progress, an estimate of the remaining time, and threads for free cores.

    python workflow/reproduce.py [--seeds N]

Long before the report, it draws a first picture, ``first_look.png``, with faces and their
reconstructions.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import yaml

from lh2face.params.overlays import MADE_HERE
from lh2face.progress import clock

SAMPLES, PICTURE = Path("runs/depth/samples.npz"), Path("first_look.png")
# Name of the overlay that --seeds writes.
SEEDS = "seeds.yaml"
# Seconds of each stage of the default run on one idle core. Other stages count as OTHER seconds.
SECONDS = {
    "data": 30, "align": 6, "benchmark": 20, "align_benchmark": 6, "validation": 10,
    "align_validation": 5, "fit3d": 40, "depth": 6, "untrained": 4, "code": 5, "train": 18,
    "joint": 65, "embed": 6, "evaluate": 7, "report": 8,
}  # fmt: skip
OTHER = 10
# Number of the last stages by which the speed of this machine is measured. With more, the estimate
# would follow changes of the load too slowly.
RECENT = 4
STARTED, UNCHANGED = re.compile(r"Running stage '(.+)'"), re.compile(r"Stage '(.+)' didn't change")
# Hints of DVC about git and remotes, which a user who only runs the pipeline does not need.
HINT = re.compile(
    r"\s*($|Updating lock|To (track|enable)|git add|dvc config core\.autost|Use `dvc push)"
)


class Estimate:
    """Estimate of the time that the remaining stages will take.

    Args:
        names: Names of all stages, such as ``train@lh2face-0``.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.left = {name: weight(name) for name in names}
        self.total = len(self.left)
        self.done: deque[tuple[float, float]] = deque(maxlen=RECENT)

    def finish(self, name: str, seconds: float | None = None) -> None:
        """Record that a stage ended after some seconds; ``None`` if it was up to date."""
        expected = self.left.pop(name, None)
        if expected is not None and seconds is not None:
            self.done.append((expected, seconds))

    def seconds_left(self) -> float:
        """Estimate the remaining seconds from the speed of the last stages."""
        expected = sum(seconds for seconds, _ in self.done)
        slowness = sum(took for _, took in self.done) / expected if expected else 1.0
        return sum(self.left.values()) * slowness

    def line(self, name: str) -> str:
        """Return the message for the start of a stage."""
        number = self.total - len(self.left) + 1
        return f"stage {number} of {self.total}: {name}, about {clock(self.seconds_left())} left"


def weight(name: str) -> float:
    """Return the expected seconds of a stage."""
    return SECONDS.get(name.partition("@")[0], OTHER)


def free_threads(environment: Mapping[str, str], cores: int, load: float) -> tuple[int, str]:
    """Choose the number of threads for the stages; return it with the reason.

    There are no more threads than free cores, because two threads on one core wait for each other.
    """
    if given := environment.get("OMP_NUM_THREADS"):
        return int(given), "OMP_NUM_THREADS"
    return max(1, min(cores, round(cores - load))), f"{cores} cores, load {load:.1f}"


def repro(target: list[str], estimate: Estimate, environment: dict[str, str]) -> None:
    """Run ``dvc repro``, and print a line before each stage."""
    command = [sys.executable, "-m", "dvc", "repro", *target]
    running, since = "", time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environment, text=True, errors="replace"
    ) as process:
        for text in process.stdout or ():
            if found := UNCHANGED.match(text):
                estimate.finish(found[1])
            if found := STARTED.match(text):
                estimate.finish(running, time.monotonic() - since)
                running, since = found[1], time.monotonic()
                print(estimate.line(running), flush=True)
            elif not HINT.match(text):
                print(text, end="", flush=True)
    if process.returncode:
        raise SystemExit(process.returncode)
    estimate.finish(running, time.monotonic() - since)


def first_look(samples: Path, picture: Path) -> None:
    """Draw some faces and their reconstructions, with one row per face."""
    with np.load(samples) as found:
        shown = [found[name] for name in ("input", "canonical", "depth", "normals", "re-rendered")]
        turned = found["turned"][:, ::6]
    rows = [
        np.hstack([cv2.cvtColor(part[i], cv2.COLOR_GRAY2RGB) if part[i].ndim == 2 else part[i]
                   for part in shown] + list(turned[i]))
        for i in range(len(turned))
    ]  # fmt: skip
    picture.write_bytes(cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1].tobytes())


def main() -> None:
    """Run the pipeline of the working directory."""
    from dvc.repo import Repo

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, help="number of trainings of each head, instead of that in params.yaml"
    )
    seeds = parser.parse_args().seeds
    if seeds is not None:
        if seeds < 1:
            parser.error(f"--seeds: expected at least 1, found {seeds}")
        header = Path("params.yaml").read_text(encoding="utf-8").partition("\n")[0]
        # A new overlay replaces the earlier one, so the user's overlay would be lost.
        if MADE_HERE.match(header + "\n") and f"/{SEEDS} over " not in header:
            parser.error(
                "--seeds: params.yaml already has an overlay; set compare.seeds in that overlay"
            )
        with tempfile.TemporaryDirectory() as folder:
            overlay = Path(folder) / SEEDS
            overlay.write_text(yaml.safe_dump({"compare": {"seeds": list(range(seeds))}}))
            subprocess.run(["lh2face", "params", overlay], check=True)
    threads, why = free_threads(os.environ, os.cpu_count() or 1, os.getloadavg()[0])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    with Repo() as found:
        estimate = Estimate(stage.addressing for stage in found.index.stages)
    print(f"{estimate.total} stages, about {clock(estimate.seconds_left())} if nothing else runs; "
          f"threads per stage: {threads} ({why})", flush=True)  # fmt: skip
    repro(["depth"], estimate, environment)
    if SAMPLES.is_file():
        first_look(SAMPLES, PICTURE)
        print(f"A first picture: {PICTURE.absolute()}", flush=True)
    repro([], estimate, environment)


if __name__ == "__main__":
    main()
