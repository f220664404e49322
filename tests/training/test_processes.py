"""Freezing and validation give the same results with one and with two processes."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.runner import Runner

WORKER = Path(__file__).with_name("worker.py")


def accuracies(work: str) -> list[tuple[str, str, str]]:
    with (Path(work) / "validation.csv").open(newline="") as file:
        return [(row["step"], row["accuracy"], row["tar"]) for row in csv.DictReader(file)]


def test_two_processes_freeze_and_validate_like_one(config, tmp_path):
    config.custom_hooks = [{"type": "FreezeHook", "parts": ["backbone"], "epochs": 1}]
    config.val_evaluator.far = 0.1
    Runner.from_cfg(config).train()
    alone = accuracies(config.work_dir)

    config.work_dir = str(tmp_path / "two")
    config.experiment_name += "-two"
    config.dump(tmp_path / "config.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
            f"--master-port={port}", str(WORKER), str(tmp_path / "config.py"), str(tmp_path),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    together = accuracies(config.work_dir)
    # The backbone was frozen until the first validation, so that of both runs was the same.
    assert together[:2] == alone[:2] and len(together) == 4
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in (0, 1))
    parameters = [name for name in first[0] if "running" not in name and "num_b" not in name]
    for epoch in (0, 1):
        for name in parameters:
            assert torch.equal(first[epoch][name], second[epoch][name]), (epoch, name)
    changed = {name for name in first[0] if not torch.equal(first[0][name], first[1][name])}
    assert {name for name in parameters if name.startswith("backbone.")} <= changed
    assert done.stdout.count("validation at step 2:") == 1
