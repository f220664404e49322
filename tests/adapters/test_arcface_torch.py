"""arcface_torch, run as it is: a stand-in always, the real one where ARCFACE_TORCH names it."""

import hashlib
import importlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lh2face.adapters.arcface_torch.run import STAND_INS, interp1d, load_bin, read_head
from lh2face.data.recordio import RecordWriter
from lh2face.data.verification_bin import write_bin
from lh2face.heads import LH2FaceHead

STAND_IN = Path(__file__).with_name("toolbox")
PEOPLE, BATCH = 4, 16
CONFIG = """
from easydict import EasyDict as edict
config = edict()
config.network = "mbf"
config.rec = "{rec}"
config.output = "{out}"
config.num_classes = 4
config.num_image = 16
config.num_epoch = {epochs}
config.warmup_epoch = 0
config.val_targets = ["lfw", "absent"]
config.batch_size = {batch}
config.fp16 = True
config.lr = 0.1
config.verbose = 1
config.frequent = 1
config.num_workers = 0
config.save_all_states = True
config.resume = {resume}
config.head = dict(type="LH2FaceHead", vmf_dim=256)
"""


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Symmetric, so that mirroring at random changes nothing."""
    rng = np.random.default_rng(0)
    half = rng.integers(0, 256, (BATCH, 8, 4, 3), dtype=np.uint8)
    small = np.concatenate([half, half[:, :, ::-1]], axis=2)
    return [image.repeat(14, 0).repeat(14, 1) for image in small]


@pytest.fixture(scope="module")
def records(tmp_path_factory, pictures) -> Path:
    """Training records as insightface writes them, and verification pairs."""
    folder = tmp_path_factory.mktemp("records")
    images = [cv2.imencode(".png", picture[..., ::-1])[1].tobytes() for picture in pictures]
    with RecordWriter(folder / "train.rec") as writer:
        writer.write(0, b"", [BATCH + 1.0, BATCH + 1.0 + PEOPLE])
        for key, image in enumerate(images, start=1):
            writer.write(key, image, key % PEOPLE)
    pairs = [images[i % BATCH] for i in range(80)]
    write_bin(folder / "lfw.bin", pairs, [i % 2 == 0 for i in range(40)])
    return folder


def launch(toolbox: Path, folder: Path, records: Path, world: int, **changes: object) -> str:
    """Train through the command; the toolbox's log."""
    (folder / "mine").mkdir(exist_ok=True)
    text = CONFIG.format(
        rec=records,
        out=folder / "out",
        **{"epochs": 2, "batch": BATCH // world, "resume": False, **changes},
    )
    (folder / "mine" / "tiny.py").write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = []
    for rank in range(world):
        place = {**shared, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": 1}
        environment = {**os.environ, **{name: str(value) for name, value in place.items()}}
        start = [sys.executable, "-B", "-c", "from lh2face.cli import main; main()"]
        arguments = ["arcface-torch", str(toolbox / "train_v2.py"), "configs/tiny"]
        processes.append(
            subprocess.Popen(
                [*start, *arguments, "--config-dir", str(folder / "mine")],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * world, outputs[0][-5000:]
    return (folder / "out" / "training.log").read_text()


def losses(log: str) -> list[float]:
    return [float(value) for value in re.findall(r"Loss (\S+)", log)]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory, records) -> Path:
    """Two steps by the stand-in in one process."""
    before, folder = digests(STAND_IN), tmp_path_factory.mktemp("one")
    log = launch(STAND_IN, folder, records, 1)
    assert digests(STAND_IN) == before
    assert len(losses(log)) == 2 and len(re.findall(r"\[lfw\].*Accuracy-Flip: \d", log)) == 2
    return folder


def test_stand_in_trains_alike_in_two_processes(tmp_path, records, trained):
    one = losses((trained / "out" / "training.log").read_text())
    two = losses(launch(STAND_IN, tmp_path, records, 2))
    # The initial proxies are the same; the toolbox sends gradients in half precision.
    assert two[0] == pytest.approx(one[0], rel=1e-6)
    assert two[1] == pytest.approx(one[1], rel=1e-3) and one[1] < one[0]
    models = [torch.load(folder / "out" / "model.pt") for folder in (trained, tmp_path)]
    torch.testing.assert_close(*models, rtol=1e-3, atol=1e-4)
    parts = [
        torch.load(tmp_path / "out" / f"checkpoint_gpu_{rank}.pt")["state_dict_softmax_fc"]
        for rank in range(2)
    ]
    assert [len(part["head.head.proxies.weight"]) for part in parts] == [2, 2]


def test_stand_in_goes_on_as_the_head_alone_would(trained, records, pictures):
    saved = torch.load(trained / "out" / "checkpoint_gpu_0.pt")
    assert (saved["epoch"], saved["global_step"]) == (2, 2)
    log = launch(STAND_IN, trained, records, 1, epochs=3, resume=True)
    head = LH2FaceHead(PEOPLE, 512, vmf_dim=256)
    prefix = "head.head."
    head.load_state_dict(
        {
            name.removeprefix(prefix): value
            for name, value in saved["state_dict_softmax_fc"].items()
            if not name.endswith("_extra_state")
        }
    )
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1
    pooled = torch.nn.functional.adaptive_avg_pool2d(images, 7).flatten(1)
    weights = saved["state_dict_backbone"]
    embeddings = 3 * (pooled @ weights["fc.weight"].T + weights["fc.bias"])
    terms = head.loss(embeddings, torch.arange(1, BATCH + 1) % PEOPLE)
    expected = sum(value.item() for name, value in terms.items() if "loss" in name)
    assert losses(log)[-1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.skipif("ARCFACE_TORCH" not in os.environ, reason="ARCFACE_TORCH names no checkout")
@pytest.mark.parametrize("world", [1, 2])
def test_real_toolbox_trains_and_goes_on(tmp_path, records, world):
    toolbox = Path(os.environ["ARCFACE_TORCH"])
    before = digests(toolbox)
    launch(toolbox, tmp_path, records, world)
    log = launch(toolbox, tmp_path, records, world, epochs=3, resume=True)
    assert digests(toolbox) == before
    assert all(np.isfinite(losses(log)))
    assert re.findall(r"\[lfw\]\[(\d)\]Accuracy-Flip: \d", log) == ["1", "2", "3"]
    saved = torch.load(tmp_path / "out" / "checkpoint_gpu_0.pt")
    assert saved["global_step"] == 3
    assert saved["state_dict_softmax_fc"]["head.head.proxies.weight"].shape == (
        PEOPLE // world,
        512,
    )


@pytest.fixture
def importable(monkeypatch, tmp_path):
    """The stand-in on the import path, and out of it again."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(STAND_IN)
    monkeypatch.syspath_prepend(STAND_INS)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("tiny", "config: expected configs/NAME, found 'tiny'"),
        ("configs/absent", "config: expected the name of a file, found 'absent'; looked in .*mine"),
        ("configs/headless", "configs/headless: expected config.head = dict"),
    ],
)
def test_config_that_cannot_be_used_is_named(importable, config, message):
    folder = importable / "mine"
    folder.mkdir()
    lines = CONFIG.splitlines()
    (folder / "headless.py").write_text(
        "\n".join(line for line in lines if "head = " not in line).format(
            rec="", out="", epochs=1, batch=1, resume=False
        )
    )
    with pytest.raises(ValueError, match=message):
        read_head(config, folder)


def test_stand_in_for_torchvision_prepares_images(importable):
    transforms = importlib.import_module("torchvision.transforms")
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    half = [0.5, 0.5, 0.5]
    for p in (0.0, 1.0):
        prepare = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomHorizontalFlip(p),
                transforms.ToTensor(),
                transforms.Normalize(half, half),
            ]
        )
        seen = image[:, ::-1] if p else image
        expected = torch.tensor(seen.transpose(2, 0, 1) / 127.5 - 1, dtype=torch.float32)
        torch.testing.assert_close(prepare(image), expected)


def test_folder_of_images_needs_torchvision(importable):
    datasets = importlib.import_module("torchvision.datasets")
    with pytest.raises(ValueError, match=r"config.rec: .* found 'photos'; .* install torchvision"):
        datasets.ImageFolder("photos", None)


def test_bins_are_read_as_the_toolbox_would(records, pictures):
    (images, mirrored), same = load_bin(str(records / "lfw.bin"), (112, 112))
    assert images.shape == (80, 3, 112, 112) and images.dtype == torch.float32
    expected = torch.from_numpy(pictures[3]).permute(2, 0, 1).float()
    assert torch.equal(images[3], expected) and torch.equal(mirrored[3], expected.flip(2))
    assert same == [True, False] * 20


def test_threshold_at_a_rate_that_repeats():
    rates, thresholds = np.array([0.0, 0.0, 0.0, 0.5, 1.0]), np.arange(5.0)
    assert interp1d(rates, thresholds, kind="slinear")(0.25) == pytest.approx(2.5)
