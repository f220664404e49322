"""A Slurm cluster on this machine for the time of a test, and a Snakefile for any dvc.yaml."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = f"""
import sys
sys.path.insert(0, {str(ROOT / "workflow")!r})
from content import stages
STAGES = stages(decide=workflow.is_main_process)
rule all:
    input: [path for stage in STAGES for path in stage.outputs]
for stage in STAGES:
    rule:
        name: stage.rule
        input: stage.inputs
        output: stage.outputs
        params: name=stage.name
        shell: "dvc --wait-for-lock repro --single-item {{params.name:q}} >> log 2>&1"
"""
CONFIG_PATH = Path("/etc/slurm/slurm.conf")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="session")
def snakefile() -> str:
    """Text of our Snakefile for the dvc.yaml of a test; each stage appends a line to ``log``."""
    return SNAKEFILE


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Path]:
    """The folder of the cluster's logs; the cluster has four cores and claims two GPUs."""
    missing = [
        name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    ]
    if missing:
        pytest.skip(
            f"no Slurm here: {', '.join(missing)} not found (apt-get install slurm-wlm munge)"
        )
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons need root here")
    if CONFIG_PATH.exists():
        pytest.skip(f"this machine has a Slurm of its own ({CONFIG_PATH})")
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname()
    values = {"controller_port": free_port(), "node_port": free_port()}
    # Jobs read the default path, because the executor does not pass SLURM_CONF on.
    CONFIG_PATH.parent.mkdir(exist_ok=True)
    gpus = CONFIG_PATH.with_name("gres.conf")
    CONFIG_PATH.write_text(CONFIG.format(folder=folder, host=host, **values), encoding="utf-8")
    gpus.write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    munge = [
        f"--{what}={folder}/munge.{what.split('-')[0]}"
        for what in ("key-file", "socket", "log-file", "pid-file", "seed-file")
    ]
    commands = [
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", host],
    ]
    daemons = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("wb") as out:
                daemons.append(
                    subprocess.Popen(
                        command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                        start_new_session=True,
                    )
                )  # fmt: skip
            time.sleep(1)
        wait_until_idle(folder)
        yield folder
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(timeout=30)
        CONFIG_PATH.unlink()
        gpus.unlink()


def wait_until_idle(folder: Path) -> None:
    """Wait until the node is idle, or fail with the logs of the daemons."""
    for _ in range(60):
        found = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True
        )
        if found.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    said = "\n".join(path.read_text()[-1500:] for path in sorted(folder.glob("*.out")))
    pytest.fail(f"Slurm's node did not come up: {found.stdout}{found.stderr}\n{said}")
