"""Break lines of the package on purpose, and check that the tests fail.

    python tests/mutants/run.py [--jobs 2] [--only AREA]

Every ``tests/mutants/AREA.toml`` lists edits. An edit replaces ``old``, which must occur exactly
once in ``file``, with ``new``; the ``tests`` that it names must then fail. The edits are made in
a copy of the tree. The script exits with 1 if an edit does not apply or its tests still pass.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("plugin", "tests", "workflow", "benchmarks", "params", "docs", "examples")
# pytest's exit code for failed tests; other codes mean that the tests did not run.
FAILED = 1
SECONDS = 600


def main() -> int:
    """Run the mutants and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="mutants side by side")
    parser.add_argument("--only", help="one AREA")
    arguments = parser.parse_args()
    mutants = [
        mutant
        for path in sorted(Path(__file__).parent.glob(f"{arguments.only or '*'}.toml"))
        for mutant in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]
    missed = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for mutant, verdict in zip(mutants, pool.map(try_mutant, mutants), strict=True):
            missed += verdict != "caught"
            print(f"{verdict:<16} {mutant['name']}", flush=True)
    print(f"{len(mutants) - missed} of {len(mutants)} mutants were caught")
    return 1 if missed or not mutants else 0


def try_mutant(mutant: dict[str, Any]) -> str:
    """Return ``caught``, ``not caught``, or why the mutant could not be tried."""
    with tempfile.TemporaryDirectory() as folder:
        # The copy is as deep as the tree, so that tests find shared data beside the tree, if any.
        tree = Path(folder) / "tree"
        tree.mkdir()
        for name in COPIED:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, tree)
        if (ROOT.parent / "shared").exists():
            (Path(folder) / "shared").symlink_to(ROOT.parent / "shared")
        path = tree / mutant["file"]
        text = path.read_text(encoding="utf-8")
        if text.count(mutant["old"]) != 1:
            return f"{text.count(mutant['old'])} places"
        path.write_text(text.replace(mutant["old"], mutant["new"]), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *mutant["tests"]],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree / "plugin"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    if done.returncode == FAILED:
        return "caught"
    return "not caught" if done.returncode == 0 else f"pytest exit {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())
