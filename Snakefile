"""One rule for every stage that DVC resolves from dvc.yaml; only resources are added here."""

from pathlib import Path

import yaml
from dvc.repo import Repo

RESOURCES = yaml.safe_load(Path("workflow/resources.yaml").read_text())
STAGES = {stage.addressing: stage for stage in Repo().index.stages}
OUTPUTS = [out.def_path for stage in STAGES.values() for out in stage.outs]


def inputs(stage):
    """A stage's files; a folder that other stages write into stands for what they write there."""
    for dep in stage.deps:
        if dep.hash_name != "params" and not hasattr(dep, "params"):
            inside = [out for out in OUTPUTS if Path(dep.def_path) in Path(out).parents]
            yield from inside or [dep.def_path]


def output(path):
    """A file has a suffix here, a folder none."""
    return path if Path(path).suffix else directory(path)


def parameters(stage):
    """The values of params.yaml that a stage depends on."""
    return {
        key: value
        for dep in stage.deps
        if hasattr(dep, "params")
        for key, value in dep.read_params().items()
    }


rule all:
    input:
        OUTPUTS,


for name, stage in STAGES.items():

    rule:
        name:
            name.replace("@", "_").replace("-", "_").replace(".", "_")
        input:
            list(inputs(stage)),
        output:
            [output(out.def_path) for out in stage.outs],
        log:
            f"logs/{name}.log",
        benchmark:
            f"logs/{name}.tsv"
        params:
            values=parameters(stage),
            command=stage.cmd,
        threads: RESOURCES[name.partition("@")[0]]["threads"]
        resources:
            mem_mb=RESOURCES[name.partition("@")[0]]["mem_mb"],
            runtime=RESOURCES[name.partition("@")[0]]["runtime"],
            gpu=RESOURCES[name.partition("@")[0]].get("gpu", 0),
        shell:
            "{params.command} > {log} 2>&1"
