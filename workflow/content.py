"""Snakemake rules for the stages of dvc.yaml, which run when the content of their inputs changes.

Snakemake itself compares time stamps, which are new after ``git clone`` and ``dvc pull``, and it
does not know DVC's cache. Here the inputs of a stage are ``ancient``, so that Snakemake ignores
their time stamps. But if DVC reports that the stage, or a stage before it, has changed, its inputs
are not ``ancient``, and one of them, a marker file, is written anew. The rule's command runs the
stage by DVC, which skips an unchanged stage, takes known outputs from the cache, and records
outputs in dvc.lock.

This module does not depend on the project. ``.dvcignore`` must list ``.snakemake_timestamp``, which
Snakemake writes into folders. Use in a Snakefile:

    from content import stages

    for stage in stages(decide=workflow.is_main_process):
        rule:
            name: stage.rule
            input: stage.inputs
            output: stage.outputs
            params: name=stage.name
            shell: "dvc --wait-for-lock repro --single-item {params.name:q}"
"""

import re
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from dvc.exceptions import DvcException
from dvc.repo import Repo, lock_repo
from networkx import descendants
from snakemake.exceptions import WorkflowError
from snakemake.io import ancient, directory

MARKERS = Path(".dvc/tmp/changed")


class Stage(NamedTuple):
    """A stage of DVC in the form of a Snakemake rule.

    Attributes:
        name: DVC's name of the stage, such as ``train@lh2face-0``.
        rule: The name, in which an underscore replaces characters that Snakemake does not allow.
        inputs: Files and folders that the stage reads, and its marker file.
        outputs: Files and folders that it writes; a path without a suffix is a folder.
    """

    name: str
    rule: str
    inputs: list[Any]
    outputs: list[Any]


def stages(decide: bool) -> list[Stage]:
    """List the stages of the DVC repository in the working directory.

    Args:
        decide: Whether to ask DVC what has changed. Snakemake also reads the Snakefile in every
            job, where it is no longer necessary to ask.

    Raises:
        WorkflowError: If DVC fails: dvc.yaml is not valid, or another process holds its lock.
    """
    try:
        # DVC reads its files again for each lock, so all calls share one lock.
        with Repo() as repo, lock_repo(repo) if decide else nullcontext():
            found, to_run = repo.index.stages, changed(repo) if decide else set()
            outputs = [out.def_path for stage in found for out in stage.outs]
    except DvcException as error:
        raise WorkflowError(str(error)) from None
    MARKERS.mkdir(parents=True, exist_ok=True)
    written = outputs_below(outputs), set(outputs)
    return [as_rule(stage, *written, stage.addressing in to_run) for stage in found]


def changed(repo: Repo) -> set[str]:
    """Return the names of the stages that DVC reports as changed, and of all stages after them."""
    found = {name for name in repo.status() if name}
    graph = repo.index.graph  # edges lead from a stage to the stages before it
    return {
        stage.addressing
        for stage in graph
        if not found.isdisjoint(s.addressing for s in (stage, *descendants(graph, stage)))
    }


def outputs_below(outputs: Iterable[str]) -> dict[str, list[str]]:
    """Return the outputs below each folder, at any depth."""
    below: dict[str, list[str]] = {}
    for out in outputs:
        for folder in Path(out).parents:
            below.setdefault(str(folder), []).append(out)
    return below


def output_with(path: str, outputs: set[str]) -> str:
    """Return the output that contains a file; if no stage writes the file, the file itself."""
    folders = map(str, Path(path).parents)
    return next((folder for folder in folders if folder in outputs), path)


def as_rule(stage: Any, below: dict[str, list[str]], outputs: set[str], to_run: bool) -> Stage:
    """Convert a stage of DVC to a rule.

    Args:
        stage: The stage.
        below: The outputs of all stages in each folder, from :func:`outputs_below`.
        outputs: The outputs of all stages.
        to_run: Whether the stage must run.
    """
    name = stage.addressing
    marker = MARKERS / name
    if to_run or not marker.exists():
        marker.write_text(str(time.time_ns()))  # Snakemake also compares the content
    inputs = [str(marker)]
    inputs += [
        path
        for dep in stage.deps
        if not hasattr(dep, "params")
        # A folder that other stages write into is replaced by their outputs in it.
        for path in below.get(str(Path(dep.def_path)), [output_with(dep.def_path, outputs)])
    ]
    paths = [out.def_path for out in stage.outs]
    return Stage(
        name,
        re.sub(r"\W", "_", name),
        inputs if to_run else [ancient(path) for path in inputs],
        [path if Path(path).suffix else directory(path) for path in paths],
    )
