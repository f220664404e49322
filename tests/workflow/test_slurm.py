"""The DAG runs on Slurm on this machine, and with a submit command: ``make test-slurm``."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]


@pytest.fixture
def clone(tmp_path):
    """A fresh clone with the small parameters."""
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    subprocess.run(["lh2face", "params", "params/ci.yaml"], cwd=tmp_path / "clone", check=True)
    return tmp_path / "clone"


def run(clone: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=clone, env={**os.environ, "PYTHONPATH": str(clone / "plugin"), **environment},
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout + done.stderr


def test_the_whole_dag_on_slurm(slurm, clone):
    said = run(
        clone, "snakemake", "--profile", "workflow/profiles/slurm", "--slurm-no-account",
        "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2",
    )  # fmt: skip
    assert "100%" in said
    assert (clone / "report" / "index.html").stat().st_size > 100_000
    # Each stage was its own job, and its log is where the documentation says.
    assert (clone / "logs" / "data@people.log").exists()
    assert list((clone / "logs" / "slurm").rglob("*.log"))
    jobs = len(list((clone / "logs").glob("*.tsv")))
    completed = (slurm / "slurmctld.log").read_text().count("_job_complete: JobId=")
    assert completed >= jobs >= 10
    assert "up to date" in run(clone, "dvc", "repro")


def test_stages_request_their_gpus(slurm, clone):
    said = run(clone, "snakemake", "--profile", "workflow/profiles/slurm", "--dry-run")
    blocks = dict(block.split(":", 1) for block in said.split("\nrule ")[1:])
    gpus = {name: "gpu=1" in block for name, block in blocks.items()}
    assert gpus["fit3d"] and not gpus["report"]
    assert not gpus["data_people"] and not gpus["align_people"]


def test_another_scheduler_works_with_its_submit_command(tmp_path, clone):
    submit = tmp_path / "submit"
    log = tmp_path / "submitted"
    # The stand-in runs the job in the background; the last argument is the job's script.
    submit.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {log}\n'
        'for script; do :; done\nsh "$script" >/dev/null 2>&1 &\necho $!\n'
    )
    submit.chmod(0o755)
    run(
        clone, "snakemake", "--profile", "workflow/profiles/cluster-generic", "--jobs", "2",
        "--latency-wait", "20", "data/aligned/training/sources/people", SUBMIT=str(submit),
    )  # fmt: skip
    assert (clone / "data" / "aligned" / "training" / "sources" / "people" / "train.rec").exists()
    lines = log.read_text().splitlines()
    assert len(lines) >= 2 and all("-N" in line and "mem_free=" in line for line in lines)


def test_two_tasks_of_srun_train_one_model(slurm, clone):
    run(clone, "dvc", "repro", "align")
    said = run(
        clone, "srun", "--ntasks=2", "--mem=4000", "lh2face", "train", "--head", "lh2face",
        "--seed", "0", "data/aligned/training/sources", "model", OMP_NUM_THREADS="1",
    )  # fmt: skip
    # Only the first task prints progress.
    assert said.count("training: 6/6") == 1
    assert (clone / "model" / "model.safetensors").exists()
