"""The adapter runs arcface_torch unmodified: a stand-in always, and the real toolbox if the
variable below names it.

``LH2FACE_ARCFACE_TORCH`` is the folder ``recognition/arcface_torch`` of an insightface checkout.
"""

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

from lh2face.adapters.arcface_torch import packages
from lh2face.adapters.arcface_torch.packages import STAND_INS
from lh2face.adapters.arcface_torch.run import (
    DEFAULTS,
    REQUIRED,
    check,
    class_centres,
    interp1d,
    load_bin,
    read_config,
    run,
)
from lh2face.data.recordio import RecordWriter
from lh2face.data.verification_bin import write_bin
from lh2face.heads import LH2FaceHead

STAND_IN = Path(__file__).with_name("toolbox")
REAL = os.environ.get("LH2FACE_ARCFACE_TORCH")
needs_real = pytest.mark.skipif(not REAL, reason="LH2FACE_ARCFACE_TORCH names no checkout")
TOOLBOXES = [STAND_IN, pytest.param(Path(REAL or ""), marks=needs_real, id="real")]
PEOPLE, BATCH = 4, 16
PAGE = ("docs/how-to/plug-in.md", "arcface_torch")
CONFIG = """
from easydict import EasyDict as edict
config = edict()
config.network = "mbf"
config.rec = "{rec}"
config.output = "{out}"
config.num_classes = 4
config.num_image = 16
config.num_epoch = {epochs}
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
    """Pictures that are symmetric, so that random mirroring does not change them."""
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
    """Train with the command, and return the toolbox's log."""
    ended = start(toolbox, folder, records, world, **changes)
    assert [code for code, _ in ended] == [0] * world, ended[0][1][-5000:]
    return (folder / "out" / "training.log").read_text()


def start(
    toolbox: Path, folder: Path, records: Path, world: int, more: str = "", **changes: object
) -> list[tuple[int, str]]:
    """Return exit code and output of each process; ``more`` is added to the config."""
    (folder / "mine").mkdir(exist_ok=True)
    text = CONFIG.format(
        rec=records,
        out=folder / "out",
        **{"epochs": 2, "batch": BATCH // world, "resume": False, **changes},
    )
    (folder / "mine" / "tiny.py").write_text(text + more)
    processes = []
    for environment in environments(world):
        command = [sys.executable, "-B", "-c", "from lh2face.cli import main; main()"]
        arguments = ["arcface-torch", str(toolbox / "train_v2.py"), "configs/tiny"]
        processes.append(
            subprocess.Popen(
                [*command, *arguments, "--config-dir", str(folder / "mine")],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    return [(process.returncode, out) for process, out in zip(processes, outputs, strict=True)]


def environments(world: int) -> list[dict[str, str]]:
    """Return the environment that torchrun would set for each process; the port is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    places = [{**shared, "RANK": r, "LOCAL_RANK": r, "OMP_NUM_THREADS": 1} for r in range(world)]
    return [{**os.environ, **{k: str(v) for k, v in place.items()}} for place in places]


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
    """The folder of a training of two steps with the stand-in, in one process."""
    before, folder = digests(STAND_IN), tmp_path_factory.mktemp("one")
    log = launch(STAND_IN, folder, records, 1)
    assert digests(STAND_IN) == before
    assert len(losses(log)) == 2 and len(re.findall(r"\[lfw\].*Accuracy-Flip: \d", log)) == 2
    return folder


def test_two_processes_train_like_one(tmp_path, records, trained):
    one = losses((trained / "out" / "training.log").read_text())
    two = losses(launch(STAND_IN, tmp_path, records, 2))
    # The initial proxies are the same. Later steps differ: the toolbox sends gradients in float16.
    assert two[0] == pytest.approx(one[0], rel=1e-6)
    assert two[1] == pytest.approx(one[1], rel=1e-3) and one[1] < one[0]
    models = [torch.load(folder / "out" / "model.pt") for folder in (trained, tmp_path)]
    torch.testing.assert_close(*models, rtol=1e-3, atol=1e-4)
    parts = [
        torch.load(tmp_path / "out" / f"checkpoint_gpu_{rank}.pt")["state_dict_softmax_fc"]
        for rank in range(2)
    ]
    assert [len(part["head.head.proxies.weight"]) for part in parts] == [2, 2]


def test_a_resumed_step_has_the_loss_of_the_head_alone(trained, records, pictures):
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


@needs_real
@pytest.mark.parametrize("world", [1, 2])
def test_real_toolbox_trains_and_resumes(tmp_path, records, world):
    toolbox = Path(REAL)
    before = digests(toolbox)
    launch(toolbox, tmp_path, records, world, more="config.sample_rate = 0.5")
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


# A config that takes over the documented one, with a smaller network and fewer steps.
SMALLER = """
from configs.faces import config
config.network, config.batch_size, config.num_epoch = "mbf", {batch}, 1
config.verbose, config.frequent, config.num_image = 1, 1, 16
"""


@pytest.mark.parametrize("toolbox", TOOLBOXES)
def test_documented_lines_train(toolbox, snippets, records, tmp_path):
    [config] = snippets(*PAGE, "python")
    [lines] = snippets(*PAGE, "bash")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "faces.py").write_text(config)
    (tmp_path / "mine" / "small.py").write_text(SMALLER.format(batch=BATCH // 2))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(records)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "to").symlink_to(toolbox)
    lines = re.sub("configs/(faces|NAME)", "configs/small", lines)
    lines = lines.replace("--nproc_per_node 8", "--standalone --nproc_per_node 2")
    with_this_python = "#!{0}\nfrom {1} import main\nmain()\n".format
    (tmp_path / "bin").mkdir()
    for name, module in (("lh2face", "lh2face.cli"), ("torchrun", "torch.distributed.run")):
        (tmp_path / "bin" / name).write_text(with_this_python(sys.executable, module))
        (tmp_path / "bin" / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-ec", lines],
        cwd=tmp_path,
        env={
            # Without these variables the script takes a fixed port, which another run may use.
            **environments(1)[0],
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = (tmp_path / "work" / "training.log").read_text()
    # One process takes two steps, each of two processes takes one.
    assert re.findall(r"\[lfw\]\[(\d)\]Accuracy-Flip: \d", log) == ["1", "2", "1"]
    assert (tmp_path / "work" / "model.pt").is_file()


def attributes(toolbox: Path) -> dict[str, object]:
    """Return the values of a toolbox's base config."""
    space: dict = {}
    exec((toolbox / "configs" / "base.py").read_text(), space)
    return dict(space["config"])


@needs_real
def test_stand_in_has_the_real_base_config(importable):
    assert attributes(STAND_IN) == attributes(Path(REAL))


@pytest.mark.parametrize("toolbox", TOOLBOXES)
def test_every_key_that_the_script_reads_is_known(toolbox, importable):
    read = set(re.findall(r"cfg\.(\w+)", (toolbox / "train_v2.py").read_text()))
    script_sets = {"total_batch_size", "warmup_step", "total_step", "items"}
    only_with_wandb = {"notes"}
    known = {*attributes(toolbox), *DEFAULTS, *REQUIRED}
    assert read - script_sets - only_with_wandb <= known
    # The base config must lack what the adapter adds, or the adapter would hide the toolbox's own.
    assert not set(attributes(toolbox)) & {*DEFAULTS, *REQUIRED}


@pytest.fixture
def importable(monkeypatch, tmp_path):
    """Put the stand-in on the import path for the time of a test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(STAND_IN)
    monkeypatch.syspath_prepend(STAND_INS)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def settings(importable, records) -> dict:
    """The values of a valid config."""
    folder = importable / "mine"
    folder.mkdir()
    text = CONFIG.format(rec=records, out=importable, epochs=1, batch=BATCH, resume=False)
    (folder / "tiny.py").write_text(text)
    return read_config("configs/tiny", folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("tiny", "config: expected configs/NAME, found 'tiny'"),
        ("configs/tiny.more", "config: expected configs/NAME, found 'configs/tiny.more'"),
        ("configs/absent", "config: expected the name of a file, found 'absent'; looked in .*mine"),
    ],
)
def test_a_missing_config_is_named_in_the_error(settings, importable, config, message):
    with pytest.raises(ValueError, match=message):
        read_config(config, importable / "mine")


def test_the_config_replaces_defaults(settings, importable):
    assert settings["warmup_epoch"] == 0 and settings.val_targets == ["lfw", "cfp_fp", "agedb_30"]
    more = "from configs.tiny import config\nconfig.val_targets = []\nconfig.warmup_epoch = 2\n"
    (importable / "mine" / "other.py").write_text(more)
    found = read_config("configs/other", importable / "mine")
    assert (found.warmup_epoch, found.val_targets) == (2, [])


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_value_is_named_in_the_error(settings, key):
    check(settings, "configs/tiny")
    with pytest.raises(ValueError, match=rf"^configs/tiny: expected config.{key} = .*found none$"):
        check({name: value for name, value in settings.items() if name != key}, "configs/tiny")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_classes", 0, "config.num_classes: expected a whole number ≥ 1, found 0"),
        ("num_epoch", "3", "config.num_epoch: expected a whole number ≥ 1, found '3'"),
        ("num_image", 5, r"config.num_image: expected at least 16, the images of one .* found 5"),
        (
            "interclass_filtering_threshold",
            0.4,
            "interclass_filtering_threshold: expected 0, found 0",
        ),
        ("dali", True, "config.dali: expected False, found True; .* nvidia-dali"),
        ("rec", "nowhere", "config.rec: expected a folder with train.rec .* no folder nowhere"),
        ("resume", True, r"config.resume: expected the file .*checkpoint_gpu_0.pt, found none;"),
        ("head", {"vmf_dim": 256}, "config.head.type: missing"),
        ("head", "LH2FaceHead", "config.head.type: missing"),
        ("head", {"type": "LH2FaseHead"}, "config.head.type: found 'LH2FaseHead', .* LH2FaceHead"),
        ("head", {"type": "MobileFaceNet"}, "config.head.type: found 'MobileFaceNet'"),
        ("head", {"type": "this.Head"}, "config.head.type: found 'this.Head'"),
        ("head", {"type": "LH2FaceHead", "dim": 4}, "config.head.dim: unknown; .*'vmf_dim'"),
        ("head", {"type": "LH2FaceHead", "num_classes": 4}, "config.head.num_classes: unknown"),
        ("head", {"type": "ShardedHead", "head": {"type": "LH2FaceHead"}}, "config.head: Sharded"),
    ],
)
def test_an_invalid_value_is_named_in_the_error(settings, key, value, message):
    settings = {**settings, key: value}
    with pytest.raises(ValueError, match=message) as error:
        check(settings, "configs/tiny")
    assert "\n" not in str(error.value) and "this" not in sys.modules


@pytest.mark.parametrize("name", [".", "absent.py", "absent/train_v2.py", "configs/base.py"])
def test_a_script_of_something_else_is_named_in_the_error(name):
    with pytest.raises(ValueError, match=r"^script: expected train_v2.py .*, found "):
        run(STAND_IN / name, "configs/tiny")


HEAD = ("config.head.typo = 1", "config.head.typo: unknown")
NETWORK = (
    "config.network = 'r51'", "config.network: expected a name in .*backbones.*, found 'r51'"
)  # fmt: skip


@pytest.mark.parametrize(
    ("world", "more", "message"),
    [
        (2, *HEAD),
        (1, *NETWORK),
        pytest.param(1, *HEAD, marks=pytest.mark.faults),
        pytest.param(2, *NETWORK, marks=pytest.mark.faults),
    ],
)
def test_each_process_prints_an_error_as_one_line(tmp_path, records, world, more, message):
    for code, output in start(STAND_IN, tmp_path, records, world, more=more):
        assert code == 1 and "Traceback" not in output
        assert re.search(rf"^lh2face: {message}", output.splitlines()[-1]), output


def test_a_checkpoint_with_other_classes_is_refused():
    centres = class_centres({"type": "LH2FaceHead"}).PartialFC_V2
    trained = centres(None, 8, 4)
    state = trained.state_dict()
    same = centres(None, 8, 4)
    same.load_state_dict(state)
    assert torch.equal(same.head.head.proxies.weight, trained.head.head.proxies.weight)
    message = r"config.resume: .* the classes 0 … 4 of 5, found one with .* 0 … 3 of 4; resume"
    with pytest.raises(ValueError, match=message):
        centres(None, 8, 5).load_state_dict(state)
    with pytest.raises(ValueError, match=r"found one with no head of this package; resume"):
        centres(None, 8, 4).load_state_dict({"weight": torch.zeros(4, 8)})


@pytest.fixture
def broken(tmp_path, monkeypatch) -> None:
    """Installs an mxnet and a torchvision that fail to import, and an easydict that imports."""
    errors = {
        "mxnet": "AttributeError(\"module 'numpy' has no attribute 'bool'\")",
        "torchvision": "RuntimeError('operator torchvision::nms does not exist')",
    }
    for name, error in errors.items():
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "part.py").touch()
        code = f"from {name} import part\nraise {error}\n"
        (tmp_path / "site" / name / "__init__.py").write_text(code)
    (tmp_path / "site" / "easydict.py").write_text("class EasyDict(dict): pass")
    monkeypatch.syspath_prepend(tmp_path / "site")

    def loaded() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] in packages.NAMES]

    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in loaded():
        del sys.modules[name]


def test_our_stand_ins_replace_modules_that_fail_to_import(broken, tmp_path):
    path = list(sys.path)
    assert "numpy" in str(packages.problem("mxnet")) and "mxnet.part" not in sys.modules
    packages.supply()
    assert sys.path == path
    for name in ("mxnet.recordio", "torchvision.datasets"):
        assert Path(importlib.import_module(name).__file__).is_relative_to(STAND_INS)
    assert Path(sys.modules["easydict"].__file__).is_relative_to(tmp_path)
    assert packages.problem("easydict") is None


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
    with pytest.raises(ValueError, match=r"config.rec: .* found photos; `lh2face records"):
        datasets.ImageFolder("photos", None)


def test_bins_are_read_as_the_toolbox_reads_them(records, pictures):
    (images, mirrored), same = load_bin(str(records / "lfw.bin"), (112, 112))
    assert images.shape == (80, 3, 112, 112) and images.dtype == torch.float32
    expected = torch.from_numpy(pictures[3]).permute(2, 0, 1).float()
    assert torch.equal(images[3], expected) and torch.equal(mirrored[3], expected.flip(2))
    assert same == [True, False] * 20


def test_the_threshold_is_found_where_rates_repeat():
    rates, thresholds = np.array([0.0, 0.0, 0.0, 0.5, 1.0]), np.arange(5.0)
    assert interp1d(rates, thresholds, kind="slinear")(0.25) == pytest.approx(2.5)
