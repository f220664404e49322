"""With the package, mmengine resumes and launches processes on current PyTorch; alone it fails."""

import os
import pickle
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch.serialization import clear_safe_globals, get_safe_globals

from lh2face import mmengine_compat


@pytest.fixture
def no_safe_globals():
    """Empties PyTorch's list of allowed classes for the time of a test."""
    before = get_safe_globals()
    clear_safe_globals()
    yield
    clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def checkpoint(path: Path) -> Path:
    """Write a checkpoint as mmengine's runner does."""
    buffer = HistoryBuffer()
    for value in (3.0, 1.0, 2.0):
        buffer.update(value)
    hub = {"log_scalars": {"train/loss": buffer}, "runtime_info": {"iter": 3}}
    torch.save({"message_hub": hub, "state_dict": {"weight": torch.ones(2)}}, path)
    return path


def test_a_checkpoint_is_read_only_after_allowing_its_classes(tmp_path, no_safe_globals):
    path = checkpoint(tmp_path / "last.pth")
    with pytest.raises(pickle.UnpicklingError, match="Unsupported"):
        torch.load(path)
    mmengine_compat.allow_checkpoint_classes()
    buffer = torch.load(path)["message_hub"]["log_scalars"]["train/loss"]
    assert (buffer.min(), buffer.max(), buffer.current()) == (1.0, 3.0, 2.0)
    assert buffer.statistics("mean") == 2.0


class Attribute:
    """Unpickling this object would look up an attribute."""

    def __init__(self, owner: object, name: str) -> None:
        self.look_up = owner, name

    def __reduce__(self):
        return getattr, self.look_up


@pytest.mark.parametrize(
    "attribute", [Attribute(HistoryBuffer, "__init__"), Attribute(torch.Tensor, "min")]
)
def test_no_other_attribute_is_looked_up(tmp_path, attribute):
    mmengine_compat.allow_checkpoint_classes()
    path = tmp_path / "evil.pth"
    torch.save(attribute, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)


def test_other_classes_stay_refused(tmp_path):
    mmengine_compat.allow_checkpoint_classes()
    path = tmp_path / "other.pth"
    torch.save({"path": Path("x")}, path)
    with pytest.raises(pickle.UnpicklingError, match="Unsupported"):
        torch.load(path)


TRAINING = """
    import sys
    import torch
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    with_fix = sys.argv[1] == "with"
    if with_fix:
        from lh2face import mmengine_compat
        mmengine_compat.apply()
        mmengine_compat.apply()

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(2, 1)

        def forward(self, inputs, mode):
            return {"loss": self.linear(inputs).square().mean()}

    runner = Runner(
        model=Model(),
        work_dir=sys.argv[2],
        launcher="pytorch",
        train_dataloader={
            "dataset": [{"inputs": torch.full((2,), float(i))} for i in range(8)],
            "batch_size": 2,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": 1},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
        log_level="ERROR",
    )
    runner.train()
    weight = runner.model.module.linear.weight.detach()
    gathered = [torch.zeros_like(weight) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(gathered, weight)
    assert len(gathered) == 2 and torch.equal(*gathered)
    print("trained on", torch.distributed.get_backend(), runner.iter)
"""


def launch(tmp_path: Path, fix: str) -> list[subprocess.CompletedProcess]:
    """Train in two processes, started as torchrun does."""
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(TRAINING))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launched = []
    for rank in range(2):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
        environment = {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": 1, **place}
        launched.append(
            subprocess.Popen(
                [sys.executable, str(script), fix, str(tmp_path / "work")],
                env={**os.environ, **{name: str(value) for name, value in environment.items()}},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return [
        subprocess.CompletedProcess(p.args, p.returncode, out, err)
        for p in launched
        for out, err in [p.communicate(timeout=120)]
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the fix is for machines without CUDA")
def test_the_pytorch_launcher_trains_only_with_the_package(tmp_path):
    for process in launch(tmp_path, "without"):
        assert process.returncode != 0
        assert "torch.cuda.set_device" in process.stderr
    for process in launch(tmp_path, "with"):
        assert process.returncode == 0, process.stderr
        assert "trained on gloo 2" in process.stdout
