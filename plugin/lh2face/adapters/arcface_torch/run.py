"""Run arcface_torch's training script with one of our heads in place of its Partial FC."""

import importlib.util
import os
import re
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, _LRScheduler

import lh2face.register  # noqa: F401
from lh2face.adapters.arcface_torch import cpu, packages
from lh2face.data.images import decode_rgb
from lh2face.data.verification_bin import read_bin
from lh2face.distributed import ShardedHead
from lh2face.recognizers.face_recognizer import summed_loss
from lh2face.registry import build

CLASS_CENTRES = "partial_fc_v2"
CONFIGS = "configs"
# Settings that the script reads but the base config lacks, with the values of the other configs.
DEFAULTS = {"warmup_epoch": 0, "val_targets": ["lfw", "cfp_fp", "agedb_30"]}
# Settings that the user must give, with examples.
REQUIRED = {
    "rec": '"data/train"',
    "num_classes": "1000",
    "num_image": "50000",
    "num_epoch": "20",
    "head": 'dict(type="LH2FaceHead", …)',
}
# Value of config.rec that makes arcface_torch generate random data instead of reading a folder.
NO_FOLDER = "synthetic"


def run(script: Path, config: str, config_dir: Path | None = None) -> None:
    """Train with an unmodified ``train_v2.py``.

    ``config.head = dict(type="LH2FaceHead", …)`` in arcface_torch's config selects the head. Like
    Partial FC, it gets the number of classes, the embedding size and ``sample_rate`` from the
    config. ``margin_list`` has no effect. The defaults are 0 for ``warmup_epoch``, and lfw, cfp_fp
    and agedb_30 for ``val_targets``. If easydict, mxnet or torchvision cannot be imported, a
    stand-in replaces it. Without CUDA, training runs on the CPU.

    Args:
        script: Path of arcface_torch's ``train_v2.py``.
        config: ``configs/NAME``, as the script expects it.
        config_dir: Folder with further configs, which is searched before arcface_torch's own.

    Raises:
        ValueError: If the script is not in an arcface_torch folder, or the config is not found,
            lacks a value, or has one that a head does not support.
    """
    if not (script.is_file() and (script.parent / CONFIGS / "base.py").is_file()):
        found = f"the folder {script}" if script.is_dir() else script
        raise ValueError(f"script: expected train_v2.py in its arcface_torch folder, found {found}")
    sys.path.insert(0, str(script.parent.resolve()))
    packages.supply()
    settings = read_config(config, config_dir)
    check(settings, config)
    sys.modules[CLASS_CENTRES] = class_centres(dict(settings["head"]))
    accept_verbose()
    name_unknown_network()
    verification: Any = importlib.import_module("eval.verification")
    verification.load_bin = load_bin
    verification.interpolate = SimpleNamespace(interp1d=interp1d)
    if not torch.cuda.is_available():
        cpu.use()
    sys.argv = [str(script), config]
    runpy.run_path(str(script), run_name="__main__")


def read_config(config: str, config_dir: Path | None) -> dict[str, Any]:
    """Read a config with arcface_torch's own reader, with :data:`DEFAULTS` in the base config.

    Raises:
        ValueError: If there is no such config.
    """
    folder, _, name = config.removesuffix(".py").partition("/")
    if folder != CONFIGS or not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"config: expected {CONFIGS}/NAME, found {config!r}")
    configs = importlib.import_module(CONFIGS)
    if config_dir is not None:
        configs.__path__.insert(0, str(config_dir.resolve()))
    if importlib.util.find_spec(f"{CONFIGS}.{name}") is None:
        looked = ", ".join(configs.__path__)
        raise ValueError(f"config: expected the name of a file, found {name!r}; looked in {looked}")
    base = importlib.import_module(f"{CONFIGS}.base").config
    for key, value in DEFAULTS.items():
        if key not in base:
            setattr(base, key, value)  # easydict's setdefault would set no attribute
    settings: dict[str, Any] = importlib.import_module("utils.utils_config").get_config(config)
    return settings


def check(settings: Mapping[str, Any], config: str) -> None:
    """Check for values that would stop the script later, or be ignored silently.

    Args:
        settings: The config's values.
        config: Its name, for messages.

    Raises:
        ValueError: If there is such a value; the message names its key and what is allowed.
    """
    for key, example in REQUIRED.items():
        if settings.get(key) is None:
            raise ValueError(f"{config}: expected config.{key} = {example}, found none")
    for key in ("num_classes", "num_image", "num_epoch"):
        if not isinstance(settings[key], int) or settings[key] < 1:
            raise ValueError(f"config.{key}: expected a whole number ≥ 1, found {settings[key]!r}")
    processes = int(os.environ.get("WORLD_SIZE", 1))
    batch = settings["batch_size"] * processes
    if settings["num_image"] < batch:
        raise ValueError(
            f"config.num_image: expected at least {batch}, the images of one step "
            f"(config.batch_size times {processes} processes), found {settings['num_image']}"
        )
    # Build the head with one class, so that a misspelt name is found before the processes connect.
    sizes = {"num_classes": 1, "in_channels": settings["embedding_size"]}
    build("head", settings["head"], "config.head", **sizes, proxies=None)
    if threshold := settings.get("interclass_filtering_threshold"):
        raise ValueError(
            f"config.interclass_filtering_threshold: expected 0, found {threshold}; only "
            "arcface_torch's own losses use it"
        )
    if settings.get("dali") and (not torch.cuda.is_available() or packages.problem("nvidia.dali")):
        raise ValueError(
            "config.dali: expected False, found True; DALI needs CUDA and the package nvidia-dali"
        )
    if settings["rec"] != NO_FOLDER and not Path(settings["rec"]).is_dir():
        raise ValueError(
            "config.rec: expected a folder with train.rec and train.idx, found no folder "
            f"{settings['rec']}"
        )
    state = Path(settings["output"]) / f"checkpoint_gpu_{os.environ.get('RANK', 0)}.pt"
    if settings.get("resume") and not state.is_file():
        raise ValueError(
            f"config.resume: expected the file {state}, found none; training writes one for each "
            "process if config.save_all_states is True; resume with the same number of processes"
        )


def class_centres(head: dict[str, Any]) -> ModuleType:
    """Create a module ``partial_fc_v2`` whose ``PartialFC_V2`` is a head with this config."""

    class PartialFC_V2(nn.Module):  # noqa: N801  arcface_torch's name
        """A head whose classes are divided over the processes, with Partial FC's interface."""

        def __init__(
            self,
            margin_loss: Any,
            embedding_size: int,
            num_classes: int,
            sample_rate: float = 1.0,
            fp16: bool = False,
        ) -> None:
            super().__init__()
            size = {"in_channels": embedding_size, "num_classes": num_classes}
            self.head = ShardedHead(head, sample_rate=sample_rate, **size)

        def forward(self, local_embeddings: Tensor, local_labels: Tensor) -> Tensor:
            """Compute the scalar loss of the batch of all processes."""
            return summed_loss(self.head.loss(local_embeddings, local_labels.view(-1).long()))

        def load_state_dict(
            self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
        ) -> Any:
            """Load a state, as for any module.

            arcface_torch's checkpoints can only be resumed with the same number of processes.

            Raises:
                ValueError: If the state belongs to other classes than those of this process.
            """
            place = "head.head.proxies._extra_state"
            found, own = state_dict.get(place), self.state_dict()[place]
            if found != own:
                raise ValueError(
                    f"config.resume: expected a checkpoint with {share_of(own)}, found one with "
                    f"{share_of(found)}; resume with the same number of processes and classes"
                )
            return super().load_state_dict(state_dict, strict, assign)

    module = ModuleType(CLASS_CENTRES)
    vars(module)["PartialFC_V2"] = PartialFC_V2
    return module


def share_of(state: Mapping[str, int] | None) -> str:
    """Describe which classes the proxies of a checkpoint belong to."""
    if state is None:
        return "no head of this package"
    last = state["first"] + state["count"] - 1
    return f"the classes {state['first']} … {last} of {state['of']}"


def name_unknown_network() -> None:
    """Give arcface_torch's error for an unknown network a message, which it lacks."""
    backbones: Any = importlib.import_module("backbones")
    get_model = backbones.get_model

    def get_named(name: str, **kwargs: Any) -> nn.Module:
        try:
            network: nn.Module = get_model(name, **kwargs)
        except ValueError as error:
            if error.args:
                raise
            raise ValueError(
                f"config.network: expected a name in {backbones.__file__}, found {name!r}"
            ) from None
        return network

    backbones.get_model = get_named


def accept_verbose() -> None:
    """Let arcface_torch's schedules pass ``verbose``, an argument that PyTorch has removed."""

    def init(
        self: LRScheduler, optimizer: Any, last_epoch: int = -1, verbose: bool = False
    ) -> None:
        LRScheduler.__init__(self, optimizer, last_epoch)

    cast(Any, _LRScheduler).__init__ = init


def interp1d(x: np.ndarray, y: np.ndarray, kind: str) -> Callable[[float], float]:
    """Interpolate a ROC linearly, as SciPy's ``interp1d`` did before it refused equal rates."""
    return lambda at: float(np.interp(at, x, y))


@torch.no_grad()
def load_bin(path: str, image_size: tuple[int, int]) -> tuple[list[Tensor], list[bool]]:
    """Read a verification bin safely; a replacement of arcface_torch's ``load_bin``.

    Returns:
        The images ``(2n, 3, S, S)`` float32 in 0 … 255 and their mirror images; and n bools:
        whether a pair shows the same person.
    """
    encoded, same = read_bin(path)
    images = torch.empty(len(encoded), 3, *image_size)
    for i, image in enumerate(encoded):
        pixels = decode_rgb(image, image_size[0], f"{path}: image {i}")
        images[i] = torch.from_numpy(pixels).permute(2, 0, 1)
    return [images, images.flip(3)], same.tolist()
