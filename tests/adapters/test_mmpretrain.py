"""Heads behave as mmpretrain's ImageClassifier expects.

Tests marked ``mmpretrain`` run the real toolbox with the commands of the documentation.

``LH2FACE_MMPRETRAIN`` may name a checkout of mmpretrain to use instead of the installed package.
"""

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from lh2face import heads
from lh2face.configs import MMPRETRAIN
from lh2face.distributed import ShardedHead
from lh2face.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent / "mmpretrain"
SITE = ROOT / ".venv-mmpretrain"
PYTHON = SITE / "bin" / "python"
CHECKOUT = os.environ.get("LH2FACE_MMPRETRAIN")
HEADS = [name for name in heads.__all__ if name != "Proxies"]
# Arguments that switch a head's margin off, so that its loss of this name is the softmax
# cross-entropy of its scores.
PLAIN = {
    "AdaFaceHead": ({"margin": 0.0}, "loss"),
    "ArcFaceHead": ({"margin": 0.0}, "loss"),
    "CosFaceHead": ({"margin": 0.0}, "loss"),
    "LH2FaceHead": ({"margin_factor": 0.0}, "loss_vmf"),
    "MagFaceHead": ({"margin_range": (0.0, 0.0)}, "loss_margin"),
    "NormFaceHead": ({}, "loss"),
    "SCFHead": ({"margin": 0.0}, "loss_margin"),
}


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(6, 8, generator=generator), torch.arange(6) % 5


@pytest.mark.parametrize("name", PLAIN)
def test_scores_are_the_logits_without_margin(name, batch):
    arguments, key = PLAIN[name]
    head = MODELS.build({"type": name, "num_classes": 5, "in_channels": 8, **arguments})
    embeddings, labels = batch
    scores = head((torch.zeros(6, 3, 2, 2), embeddings))
    assert scores.shape == (6, 5)
    loss = head.loss(embeddings, labels)[key]
    torch.testing.assert_close(F.cross_entropy(scores, labels), loss, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_gives_embeddings_and_scores(name, batch):
    head = MODELS.build({"type": name, "num_classes": 5, "in_channels": 8})
    embeddings, _ = batch
    assert head.pre_logits((embeddings + 1, embeddings)) is embeddings
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = head(embeddings)
    directions = F.normalize(head.proxies.weight)
    scale = getattr(head, "scale", embeddings.norm(dim=1, keepdim=True))
    torch.testing.assert_close(scores, scale * F.normalize(embeddings) @ directions.T)


class Sample:
    """The part of mmpretrain's data sample that a head uses."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __contains__(self, name):
        return name in self.__dict__

    def set_pred_score(self, score):
        self.pred_score = score
        return self

    def set_pred_label(self, label):
        self.pred_label = label
        return self


@pytest.mark.parametrize("sharded", [False, True])
def test_prediction_is_written_into_the_samples(sharded, batch, monkeypatch):
    package = ModuleType("mmpretrain")
    package.structures = SimpleNamespace(DataSample=Sample)
    monkeypatch.setitem(sys.modules, "mmpretrain", package)
    monkeypatch.setitem(sys.modules, "mmpretrain.structures", package.structures)
    config = {"type": "CosFaceHead", "num_classes": 5, "in_channels": 8}
    head = ShardedHead(config) if sharded else MODELS.build(config)
    embeddings, _ = batch
    given = [Sample(gt_label=torch.tensor([i])) for i in range(5)]
    for samples in (None, [*given, None]):
        found = head.predict((embeddings,), samples)
        assert len(found) == 6 and (samples is None or found[:5] == given)
        expected = head((embeddings,)).softmax(1)
        assert torch.equal(torch.stack([sample.pred_score for sample in found]), expected)
        labels = torch.stack([sample.pred_label for sample in found])
        assert torch.equal(labels, expected.argmax(1, keepdim=True))
    assert torch.equal(head.pre_logits((embeddings,)), embeddings)


@pytest.mark.parametrize("type", ["LH2FaceHead", "ShardedHead"])
def test_mixed_labels_are_refused(type, batch):
    inner = {"type": "LH2FaceHead", "num_classes": 5, "in_channels": 8}
    head = MODELS.build({"type": type, "head": inner} if type == "ShardedHead" else inner)
    embeddings, labels = batch
    samples = [Sample(gt_label=label[None]) for label in labels]
    torch.testing.assert_close(head.loss((embeddings,), samples), head.loss(embeddings, labels))
    samples[3].gt_score = torch.full((5,), 0.2)
    with pytest.raises(ValueError, match=r"^gt_score: .* found mixed labels; .*mixup"):
        head.loss((embeddings,), samples)


def test_scores_of_sharded_classes_are_refused(batch, monkeypatch):
    monkeypatch.setattr("lh2face.distributed.proxies.world_size", lambda: 2)
    monkeypatch.setattr("lh2face.distributed.proxies.dist.broadcast_object_list", lambda seed: None)
    head = ShardedHead({"type": "CosFaceHead", "num_classes": 5, "in_channels": 8})
    with pytest.raises(ValueError, match=r"^proxies: .* found classes 0 … 2 of 5; validate by emb"):
        head(batch[0])


class Rates(Hook):
    """Hook that keeps the learning rate of each iteration."""

    def __init__(self) -> None:
        self.all: list[float] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.all.append(runner.optim_wrapper.get_lr()["lr"][0])


class Least(BaseModel):
    """The smallest model that can be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, inputs, mode):
        return {"loss": self.weight + inputs.sum()}


@pytest.mark.parametrize("length", [1, 2, 20])
def test_learning_rate_follows_the_number_of_epochs(length, tmp_path):
    config, steps, rates = Config.fromfile(MMPRETRAIN, import_custom_modules=False), 4, Rates()
    runner = Runner(
        Least(),
        str(tmp_path),
        train_dataloader=DataLoader([{"inputs": torch.zeros(1)}] * steps),
        train_cfg={**config.train_cfg, "max_epochs": length},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 1.0}},
        param_scheduler=config.param_scheduler,
        default_scope="mmengine",
        experiment_name=tmp_path.name,
        custom_hooks=[rates],
    )
    runner.train()
    total = length * steps
    warm = [min(1.0, 0.01 + 0.99 * i / (steps - 1)) for i in range(total)]
    cosine = [(1 + math.cos(math.pi * i / total)) / 2 for i in range(total)]
    expected = [a * b for a, b in zip(warm, cosine, strict=True)]
    assert rates.all == pytest.approx(expected, rel=1e-3)


@pytest.fixture(scope="module")
def toolbox() -> dict[str, str]:
    """Environment variables with which ``python`` is that of the real toolbox."""
    if not PYTHON.exists():
        pytest.skip("needs mmpretrain's own environment: make test-mmpretrain")
    paths = [*([CHECKOUT] if CHECKOUT else []), str(ROOT / "plugin")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, toolbox) -> Path:
    """A folder as the page describes it: tools, photos for training, others for validation."""
    folder = tmp_path_factory.mktemp("mmpretrain")
    packaged = SITE / "lib/python3.11/site-packages/mmpretrain/.mim"
    (folder / "tools").symlink_to((Path(CHECKOUT) if CHECKOUT else packaged) / "tools")
    rng = np.random.default_rng(0)
    for root, photos in (("faces", 4), ("held_out", 2)):
        for person in range(3):
            (folder / "data" / root / str(person)).mkdir(parents=True)
            for i in range(photos):
                image = rng.integers(0, 256, (112, 112, 3), np.uint8)
                cv2.imwrite(str(folder / "data" / root / str(person) / f"{i}.png"), image)
    (folder / "bin").mkdir()
    # torchvision imports there only through run.py.
    python = f'#!/bin/sh\n[ "$1" = -c ] || set -- {HERE / "run.py"} "$@"\nexec {PYTHON} "$@"\n'
    (folder / "bin" / "python").write_text(python)
    (folder / "bin" / "python").chmod(0o755)
    toolbox["PATH"] = f"{folder / 'bin'}{os.pathsep}{toolbox['PATH']}"
    return folder


@pytest.mark.mmpretrain
@pytest.mark.parametrize("tests", [HERE / "in_toolbox.py", ROOT / "tests/backbones/test_timm.py"])
def test_these_files_pass_in_the_environment_of_the_real_toolbox(workplace, toolbox, tests):
    """The heads work in the real classifier; timm is tested there too, as it needs torchvision."""
    program = Path(pytest.__file__).with_name("__main__.py")
    arguments = ["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    done = subprocess.run(
        [workplace / "bin" / "python", program, tests, *arguments],
        cwd=ROOT, env=toolbox, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


def logs(folder: Path) -> str:
    """Return the toolbox's logs below a folder, oldest first."""
    return "".join(path.read_text() for path in sorted(folder.glob("*/*.log")))


@pytest.mark.mmpretrain
@pytest.mark.timeout(900)
def test_documented_commands_train_resume_and_predict(workplace, toolbox, snippets):
    [lines] = snippets("docs/how-to/plug-in.md", "mmpretrain", "bash")
    train, test = re.split(r"(?=^python tools/test)", lines, flags=re.MULTILINE)
    train = train.replace("=1000", "=3").strip()
    train += " train_dataloader.batch_size=4 train_dataloader.num_workers=1"
    train += " val_dataloader.num_workers=1 train_cfg.max_epochs=2"
    resume = train.replace("--work-dir work", "--work-dir again --resume work/epoch_1.pth")
    test = test.replace("=1000", "=3").replace("epoch_20", "epoch_2").strip()
    test = f"config=$({path_of(train)})\n{test} test_dataloader.num_workers=1"
    for commands in (train, resume, test):
        done = subprocess.run(
            ["bash", "-ec", commands], cwd=workplace, env=toolbox, capture_output=True, text=True
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    tested = re.search(r"accuracy/top1: (\S+)", done.stdout + done.stderr)[1]
    first, second = (logs(workplace / folder) for folder in ("work", "again"))
    found = [epochs(log) for log in (first, second)]
    assert list(found[0]) == [1, 2] and list(found[1]) == [2]
    # The schedule goes on where it was. Losses differ: other pictures are mirrored than before.
    assert found[1][2][0] == found[0][2][0]
    assert float(found[0][2][1]) == pytest.approx(float(tested), abs=1e-3)


def epochs(log: str) -> dict[int, tuple[str, str]]:
    """Return learning rate and validation accuracy of each epoch of a log."""
    rates = re.findall(r"Epoch\(train\) +\[(\d)\]\[3/3\] +lr: (\S+) .* loss_vmf: \d", log)
    accuracies = re.findall(r"Epoch\(val\) +\[\d\]\[1/1\] +accuracy/top1: (\S+)", log)
    return {int(n): (rate, acc) for (n, rate), acc in zip(rates, accuracies, strict=True)}


def path_of(train: str) -> str:
    """Return the command with which the page finds the config."""
    return re.search(r"\$\((.*)\)\n", train)[1]
