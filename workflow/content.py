"""Snakemake rules for the stages of dvc.yaml; their content decides which of them run.

Snakemake goes by time stamps, which are new after ``git clone`` and ``dvc pull``, and does not know
DVC's cache. Here the inputs of a stage are ``ancient`` unless DVC calls it, or what it builds on,
changed; then a marker file among them is new. The rule's command leaves the stage to DVC, which
skips it if it turns out unchanged, takes from the cache what was made before, and records the
outputs in dvc.lock as the stage ends.

Nothing here is about this project. ``.dvcignore`` must name ``.snakemake_timestamp``, which
Snakemake leaves in folders. In a Snakefile:

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
    """A stage as a rule.

    Attributes:
        name: DVC's name, such as ``train@lh2face-0``.
        rule: The name, with what Snakemake allows in one.
        inputs: Files and folders that it reads, and its marker.
        outputs: What it writes; a path without a suffix is a folder.
    """

    name: str
    rule: str
    inputs: list[Any]
    outputs: list[Any]


def stages(decide: bool) -> list[Stage]:
    """Every stage of the DVC repository in the working directory.

    Args:
        decide: Whether to ask DVC what has changed. Snakemake reads the Snakefile again in every
            job, where that is settled.

    Raises:
        WorkflowError: If DVC cannot tell: dvc.yaml is wrong, or another process works here.
    """
    try:
        # Under one lock DVC reads its files once; without, again for every question.
        with Repo() as repo, lock_repo(repo) if decide else nullcontext():
            found, to_run = repo.index.stages, changed(repo) if decide else set()
            written = outputs_below(out.def_path for stage in found for out in stage.outs)
    except DvcException as error:
        raise WorkflowError(str(error)) from None
    MARKERS.mkdir(parents=True, exist_ok=True)
    return [as_rule(stage, written, stage.addressing in to_run) for stage in found]


def changed(repo: Repo) -> set[str]:
    """Names of the stages that DVC calls changed, and of those that build on them."""
    found = {name for name in repo.status() if name}
    graph = repo.index.graph  # from a stage to what it builds on
    return {
        stage.addressing
        for stage in graph
        if not found.isdisjoint(s.addressing for s in (stage, *descendants(graph, stage)))
    }


def outputs_below(outputs: Iterable[str]) -> dict[str, list[str]]:
    """The outputs in each folder, at any depth."""
    below: dict[str, list[str]] = {}
    for out in outputs:
        for folder in Path(out).parents:
            below.setdefault(str(folder), []).append(out)
    return below


def as_rule(stage: Any, written: dict[str, list[str]], to_run: bool) -> Stage:
    """A stage of DVC as a rule.

    Args:
        stage: The stage.
        written: As :func:`outputs_below`, of all stages.
        to_run: Whether it is to run.
    """
    name = stage.addressing
    marker = MARKERS / name
    if to_run or not marker.exists():
        marker.write_text(str(time.time_ns()))  # Snakemake compares content too
    inputs = [str(marker)]
    inputs += [
        path
        for dep in stage.deps
        if not hasattr(dep, "params")
        # A folder that other stages write into stands for what they write there.
        for path in written.get(str(Path(dep.def_path)), [dep.def_path])
    ]
    paths = [out.def_path for out in stage.outs]
    return Stage(
        name,
        re.sub(r"\W", "_", name),
        inputs if to_run else [ancient(path) for path in inputs],
        [path if Path(path).suffix else directory(path) for path in paths],
    )
