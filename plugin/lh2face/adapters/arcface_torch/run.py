"""Run the toolbox's own training script with one of our heads in the place of Partial FC."""

import importlib.util
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, _LRScheduler

import lh2face  # noqa: F401  registers the heads
from lh2face.adapters.arcface_torch import cpu
from lh2face.data.images import decode_rgb
from lh2face.data.verification_bin import read_bin
from lh2face.distributed import ShardedHead
from lh2face.recognizers.face_recognizer import summed_loss

STAND_INS = Path(__file__).with_name("stand_ins")
CLASS_CENTRES = "partial_fc_v2"
CONFIGS = "configs"


def run(script: Path, config: str, config_dir: Path | None = None) -> None:
    """Train with an unmodified ``train_v2.py``.

    ``config.head = dict(type="LH2FaceHead", …)`` in the toolbox's config names the head, which
    takes number of classes, embedding size and ``sample_rate`` from the config as Partial FC does;
    ``margin_list`` is not used. Where easydict, mxnet or torchvision is missing, what the script
    needs of it is supplied; without CUDA it trains on the CPU.

    Args:
        script: The toolbox's ``train_v2.py``.
        config: ``configs/NAME``, as the script takes it.
        config_dir: Folder of more configs, looked through before the toolbox's own.

    Raises:
        ValueError: If the config is not found, or names no head.
    """
    sys.path.insert(0, str(script.parent.resolve()))
    # Last, so that a package that is installed comes first.
    sys.path.append(str(STAND_INS))
    head = read_head(config, config_dir)
    sys.modules[CLASS_CENTRES] = class_centres(head)
    accept_verbose()
    verification = importlib.import_module("eval.verification")
    verification.load_bin = load_bin
    verification.interpolate = SimpleNamespace(interp1d=interp1d)
    if not torch.cuda.is_available():
        cpu.use()
    sys.argv = [str(script), config]
    runpy.run_path(str(script), run_name="__main__")


def read_head(config: str, config_dir: Path | None) -> dict[str, Any]:
    """The ``config.head`` of a toolbox's config, read by the toolbox."""
    folder, _, name = config.removesuffix(".py").partition("/")
    if folder != CONFIGS or not name:
        raise ValueError(f"config: expected {CONFIGS}/NAME, found {config!r}")
    configs = importlib.import_module(CONFIGS)
    if config_dir is not None:
        configs.__path__.insert(0, str(config_dir.resolve()))
    if importlib.util.find_spec(f"{CONFIGS}.{name}") is None:
        looked = ", ".join(configs.__path__)
        raise ValueError(f"config: expected the name of a file, found {name!r}; looked in {looked}")
    found = importlib.import_module("utils.utils_config").get_config(config)
    if "head" not in found:
        raise ValueError(
            f'{config}: expected config.head = dict(type="LH2FaceHead", …), found none'
        )
    return dict(found.head)


def class_centres(head: dict[str, Any]) -> ModuleType:
    """A module ``partial_fc_v2`` whose ``PartialFC_V2`` is a head."""

    class PartialFC_V2(nn.Module):  # noqa: N801  the toolbox's name
        """A head with its classes divided over processes, called as Partial FC is."""

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
            """The loss of the batch of all processes."""
            return summed_loss(self.head.loss(local_embeddings, local_labels.view(-1).long()))

    module = ModuleType(CLASS_CENTRES)
    module.PartialFC_V2 = PartialFC_V2
    return module


def accept_verbose() -> None:
    """Let learning-rate schedules pass ``verbose``, which PyTorch has no longer."""

    def init(
        self: LRScheduler, optimizer: Any, last_epoch: int = -1, verbose: bool = False
    ) -> None:
        LRScheduler.__init__(self, optimizer, last_epoch)

    _LRScheduler.__init__ = init


def interp1d(x: np.ndarray, y: np.ndarray, kind: str) -> Callable[[float], float]:
    """Linear interpolation of a ROC, whose repeated rates SciPy's own refuses by now."""
    return lambda at: float(np.interp(at, x, y))


@torch.no_grad()
def load_bin(path: str, image_size: tuple[int, int]) -> tuple[list[Tensor], list[bool]]:
    """A verification bin as the toolbox's own ``load_bin`` gives it, running nothing in the file.

    Returns:
        The images ``(2n, 3, S, S)``, 0 … 255, and their mirror images; n times whether a pair shows
        one person.
    """
    encoded, same = read_bin(path)
    images = torch.empty(len(encoded), 3, *image_size)
    for i, image in enumerate(encoded):
        pixels = decode_rgb(image, image_size[0], f"{path}: image {i}")
        images[i] = torch.from_numpy(pixels).permute(2, 0, 1)
    return [images, images.flip(3)], same.tolist()
