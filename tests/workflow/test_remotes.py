"""A small project pulls data from an S3 server, and runs queued experiments."""

import csv
import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

DVC_YAML = """
stages:
  double:
    cmd: sh double.sh
    deps: [word.txt]
    params: [n]
    outs: [out]
    metrics: [metrics.json]
"""
DOUBLE = r"""
n=$(sed -n 's/n: //p' params.yaml)
mkdir -p out
echo "$(cat word.txt) $n" > out/word.txt
echo "{\"twice\": $((2 * n))}" > metrics.json
"""


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={
            **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@t",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    files = {"dvc.yaml": DVC_YAML, "params.yaml": "n: 1\n", "word.txt": "word\n"}
    files["double.sh"] = DOUBLE
    for name, text in files.items():
        (folder / name).write_text(text)
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "dvc", "repro")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "-qm", "all")
    return folder


@pytest.fixture(scope="module")
def s3():
    """The address of an S3 server on this machine, with a bucket."""
    pytest.importorskip("moto.server", reason="no S3 server here: pip install 'moto[s3]' flask")
    boto3 = pytest.importorskip("boto3")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    )  # fmt: skip
    client.create_bucket(Bucket="faces")
    yield address, client
    server.terminate()
    server.wait()


def test_a_clone_pulls_from_s3_and_has_nothing_to_do(project, tmp_path, s3):
    address, client = s3
    run(project, "dvc", "remote", "add", "--default", "store", "s3://faces/lh2face")
    run(project, "dvc", "remote", "modify", "store", "endpointurl", address)
    run(project, "git", "commit", "-qam", "remote")
    run(project, "dvc", "push")
    assert client.list_objects_v2(Bucket="faces", Prefix="lh2face/files")["KeyCount"] == 3
    run(tmp_path, "git", "clone", "--quiet", str(project), "clone")
    clone = tmp_path / "clone"
    assert not (clone / "out").exists()
    run(clone, "dvc", "pull")
    assert (clone / "out" / "word.txt").read_text() == "word 1\n"
    assert "up to date" in run(clone, "dvc", "repro")


@pytest.mark.faults
def test_experiments_are_queued_run_side_by_side_and_shown(project):
    run(project, "dvc", "exp", "run", "--queue", "-S", "n=2,3")
    run(project, "dvc", "exp", "run", "--run-all", "--jobs", "2")
    table = run(project, "dvc", "exp", "show", "--csv", "--no-pager")
    rows = list(csv.DictReader(io.StringIO(table[table.index("Experiment") :])))
    assert {(row["n"], row["twice"]) for row in rows} == {("1", "2"), ("2", "4"), ("3", "6")}
    assert (project / "out" / "word.txt").read_text() == "word 1\n"
