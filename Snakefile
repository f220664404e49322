"""Defines one rule for every stage of dvc.yaml, and adds its resources, log and benchmark."""

import sys
from pathlib import Path

import yaml

sys.path.insert(0, "workflow")
from content import stages

RESOURCES = yaml.safe_load(Path("workflow/resources.yaml").read_text())
STAGES = stages(decide=workflow.is_main_process)


rule all:
    input:
        [path for stage in STAGES for path in stage.outputs],


for stage in STAGES:
    kind = stage.name.partition("@")[0]
    needs = RESOURCES[kind] | config.get("resources", {}).get(kind, {})

    rule:
        name:
            stage.rule
        input:
            stage.inputs,
        output:
            stage.outputs,
        log:
            f"logs/{stage.name}.log",
        benchmark:
            f"logs/{stage.name}.tsv"
        params:
            name=stage.name,
        threads: needs["threads"]
        resources:
            mem_mb=needs["mem_mb"],
            runtime=needs["runtime"],
            gpu=needs.get("gpu", 0),
        shell:
            "dvc --wait-for-lock repro --single-item {params.name:q} > {log:q} 2>&1"
