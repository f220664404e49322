"""The heads train in pytorch-metric-learning and in the training code of AdaFace and CVLface.

pytorch-metric-learning is installed. AdaFace and CVLface are small stand-ins beside this file; the
real ones are tested too if ``ADAFACE`` and ``CVLFACE`` name a checkout.
"""

import importlib
import inspect
import os
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from pytorch_metric_learning import losses, trainers

from lh2face.adapters.metric_learning import HeadLoss
from lh2face.heads import LH2FaceHead
from lh2face.recognizers.face_recognizer import summed_loss

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "how-to" / "plug-in.md"
LH2FACE = {"type": "LH2FaceHead", "vmf_dim": 256}


def toolboxes(variable: str, stand_in: str) -> list:
    """Return the folder of the stand-in, and that of the real toolbox if the variable names one."""
    missing = pytest.mark.skipif(variable not in os.environ, reason=f"{variable} names no checkout")
    real = Path(os.environ.get(variable, ""))
    return [
        pytest.param(HERE / stand_in, id="stand-in"),
        pytest.param(real, id="real", marks=missing),
    ]


@pytest.fixture
def importable(monkeypatch):
    """Return a function that puts folders on the import path; their modules are unloaded later."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield monkeypatch.syspath_prepend
    for name in set(sys.modules) - before:
        del sys.modules[name]


def run_snippet(adapter: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the page's script for a toolbox, up to the line that starts the toolbox's own script."""
    snippets = re.findall(
        r"^```py title[^\n]*\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    [snippet] = [text for text in snippets if f"{adapter}.install" in text]
    started = []
    monkeypatch.setattr(runpy, "run_path", lambda path, run_name: started.append((path, run_name)))
    exec(compile(snippet, "snippet", "exec"), {"__file__": str(folder / "train_lh2face.py")})
    [(path, name)] = started
    assert (folder / path).is_file() and name == "__main__"


def test_metric_learning_combines_a_head_with_other_losses():
    torch.manual_seed(0)
    loss = HeadLoss(**LH2FACE, num_classes=5, in_channels=8)
    z, y = 9 * torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    expected = summed_loss(loss.head.loss(z, y))
    torch.testing.assert_close(loss(z, y), expected)
    both = losses.MultipleLosses([loss, losses.ArcFaceLoss(5, 8)], weights=[1, 0])
    torch.testing.assert_close(both(z, y), expected)


def test_cosface_has_the_loss_of_metric_learnings_cosface():
    torch.manual_seed(0)
    theirs = losses.CosFaceLoss(5, 8, margin=0.35, scale=64)
    ours = HeadLoss(type="CosFaceHead", num_classes=5, in_channels=8)
    ours.head.proxies.weight.data = theirs.W.data.T.clone()
    z, y = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    torch.testing.assert_close(ours(z, y), theirs(z, y))


@pytest.mark.parametrize("name", ["indices_tuple", "ref_emb", "ref_labels"])
def test_arguments_that_a_head_cannot_use_are_refused(name):
    loss = HeadLoss(type="CosFaceHead", num_classes=5, in_channels=8)
    z, y = torch.randn(6, 8), torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ValueError, match=f"{name}: expected None, found Tensor; a head compares"):
        loss(z, y, **{name: z})


def test_metric_learning_trains_with_a_head():
    torch.manual_seed(0)
    people = torch.randn(4, 6)
    data = torch.utils.data.TensorDataset(people.repeat(8, 1), torch.arange(4).repeat(8))
    network = torch.nn.Linear(6, 8)
    loss = HeadLoss(**LH2FACE, num_classes=4, in_channels=8)
    before = loss(network(people), torch.arange(4)).item()
    trainers.MetricLossOnly(
        models={"trunk": network},
        optimizers={
            "trunk_optimizer": torch.optim.SGD(network.parameters(), 0.1),
            "metric_loss_optimizer": torch.optim.SGD(loss.parameters(), 0.1),
        },
        batch_size=8,
        loss_funcs={"metric_loss": loss},
        dataset=data,
        data_device="cpu",
        dataloader_num_workers=0,
    ).train(num_epochs=3)
    assert loss(network(people), torch.arange(4)).item() < before


class LightningModule(torch.nn.Module):
    """The part of Lightning's module that AdaFace's trainer uses in a step."""

    def save_hyperparameters(self):
        self.hparams = SimpleNamespace(**inspect.currentframe().f_back.f_locals["kwargs"])

    def log(self, *_, **__):
        pass


@pytest.mark.parametrize("toolbox", toolboxes("ADAFACE", "adaface"))
def test_adaface_trains_with_a_head(importable, monkeypatch, toolbox):
    core = ModuleType("pytorch_lightning.core")
    core.LightningModule = LightningModule
    monkeypatch.setitem(sys.modules, "pytorch_lightning", ModuleType("pytorch_lightning"))
    monkeypatch.setitem(sys.modules, "pytorch_lightning.core", core)
    monkeypatch.setitem(sys.modules, "bcolz", ModuleType("bcolz"))
    importable(toolbox)
    run_snippet("adaface", toolbox, monkeypatch)
    train_val = importlib.import_module("train_val")
    torch.manual_seed(0)
    trainer = train_val.Trainer(
        arch="ir_18", head="adaface", m=0.4, h=0.333, t_alpha=0.01, s=64.0, lr=0.01, momentum=0.0,
        lr_milestones=[8], lr_gamma=0.1, custom_num_class=3, start_from_model_statedict="",
    )  # fmt: skip
    monkeypatch.setattr(trainer, "get_current_lr", lambda: 0.01)
    [optimizer], _ = trainer.configure_optimizers()
    images, labels = torch.randn(3, 3, 112, 112), torch.arange(3)
    trainer.eval()  # so that embeddings are the same at each call, and the running mean stays
    with torch.no_grad():
        unit, norms = trainer.model(images)
    alone = LH2FaceHead(3, 512, vmf_dim=256).eval()
    alone.proxies.weight.data.copy_(trainer.head.kernel.data)
    expected = summed_loss(alone.loss(unit * norms, labels))
    loss = trainer.training_step((images, labels), 0)
    torch.testing.assert_close(loss, expected)
    before = trainer.head.kernel.detach().clone()
    loss.backward()
    optimizer.step()
    assert (trainer.head.kernel != before).any()
    assert [*map(id, trainer.head.parameters())] == [id(trainer.head.kernel)]


@pytest.mark.parametrize("kind", ["fc", "partial_fc"])
@pytest.mark.parametrize("toolbox", toolboxes("CVLFACE", "cvlface"))
def test_cvlface_trains_with_a_head(importable, monkeypatch, tmp_path, toolbox, kind):
    real = toolbox / "cvlface" / "research" / "recognition" / "code" / "run_v1"
    code = real if real.is_dir() else toolbox
    importable(code)
    roots = ModuleType("pyrootutils")
    roots.setup_root = lambda file, indicator, pythonpath: importable(toolbox / "cvlface")
    monkeypatch.setitem(sys.modules, "pyrootutils", roots)
    run_snippet("cvlface", code, monkeypatch)
    classifiers = importlib.import_module("classifiers")
    config = SimpleNamespace(name=kind, sample_rate=1.0, start_from="", freeze=False)
    torch.manual_seed(0)
    classifier = classifiers.get_classifier(
        config,
        margin_loss_fn=torch.nn.Identity(),
        model_cfg=SimpleNamespace(output_dim=512),
        num_classes=3,
        rank=0,
        world_size=2 if kind == "partial_fc" else 1,
    ).train()
    [weight] = classifier.parameters()
    # CVLface's Partial FC pads: every process has the same number of classes.
    assert len(weight) == (4 if kind == "partial_fc" else 3)
    z, y = torch.randn(5, 512, requires_grad=True), torch.tensor([0, 1, 2, 2, 1])
    loss = classifier(z, y)
    alone = LH2FaceHead(len(weight), 512, vmf_dim=256)
    alone.proxies.weight.data.copy_(weight.data)
    torch.testing.assert_close(loss, summed_loss(alone.loss(z, y)))
    loss.backward()
    assert z.grad.any() and weight.grad.any()
    if real.is_dir():
        classifier.config = {"name": kind}
        classifier.save_pretrained(tmp_path, "classifier.pt", 0)
        saved = weight.detach().clone()
        weight.data.zero_()
        classifier.world_size = 1
        classifier.load_state_dict_from_path(str(tmp_path / "classifier.pt"))
        assert torch.equal(weight, saved)
