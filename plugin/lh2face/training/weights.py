"""Weights to begin a training from: models of this project, and published ones."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import torch
from mmengine.registry import WEIGHT_INITIALIZERS
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lh2face.text import check_utf8

# What a folder of weights may hold: a trained model, or what stage ``weights`` wrote, WEIGHTS.
WEIGHTS = "weights.safetensors"
IN_FOLDER = ("model.safetensors", WEIGHTS)
# What DataParallel puts in front of every name.
WRAPPER = "module."
BACKBONE, HEAD, RECONSTRUCTOR = "backbone.", "head.", "reconstructor."
SHOWN = 3


class WeightsError(ValueError):
    """Weights that cannot be used; the message names the file."""


@WEIGHT_INITIALIZERS.register_module()
class FaceWeights:
    """Begin with the weights of a file, in a backbone or in a whole recognizer.

    mmengine calls it before a training begins; a run that goes on from a checkpoint has the weights
    of that. The head always begins anew, because its proxies belong to other identities.

    Args:
        path: What :func:`read_weights` reads.

    Raises:
        WeightsError: As :func:`read_weights`.

    Example:
        ``backbone=dict(type="IResNet", depth=50,
        init_cfg=dict(type="FaceWeights", path="backbone.pth"))``
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def __call__(self, module: nn.Module) -> None:
        """Put the weights into a backbone or a recognizer."""
        module.load_state_dict(read_weights(self.path, module), strict=False)


def read_weights(path: Path, module: nn.Module) -> dict[str, Tensor]:
    """The weights of a file that are a module's own, by its names.

    Names and shapes are compared before any weight is read; nothing in a file is executed.

    Args:
        path: A trained model's folder, a folder of stage ``weights``, a safetensors file, or a
            file that PyTorch ≥ 1.6 saved: a dictionary of tensors, such as the ``backbone.pth`` of
            insightface's arcface_torch, with ``module.`` in front of the names or without, or a
            checkpoint with such a dictionary as ``state_dict``. Names are those of a backbone, or
            of a recognizer with ``backbone.`` in front.
        module: A backbone or a recognizer, perhaps on the ``meta`` device.

    Returns:
        Of a backbone all weights; of a recognizer those of its backbone and, if the file has them,
        of its reconstructor.

    Raises:
        WeightsError: If the file is missing, damaged, no such file, or holds NaN or infinity; or if
            names are missing or unexpected, but for those of a head, or shapes are others.
    """
    if path.is_dir():
        path = _in_folder(path)
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    with _opened(path) as (shapes, read):
        names = _matched(shapes, expected, path)
        for name, there in names.items():
            if shapes[there] != expected[name]:
                raise WeightsError(
                    f"{path}: {there:.100} has the shape {list(shapes[there])}, the network's is "
                    f"{list(expected[name])}"
                )
        weights = {name: read(there) for name, there in names.items()}
    for name, value in weights.items():
        if not value.isfinite().all():
            raise WeightsError(f"{path}: {name:.100} holds NaN or infinity")
    return weights


def _in_folder(folder: Path) -> Path:
    found = next((folder / name for name in IN_FOLDER if (folder / name).is_file()), None)
    if found is None:
        raise WeightsError(
            f"{folder}: no {' or '.join(IN_FOLDER)} in it; expected a trained model's folder"
        )
    return found


def _matched(there: Iterable[str], expected: Iterable[str], path: Path) -> dict[str, str]:
    """Names in the file by the names of the network that they belong to."""
    found, wanted = _in_recognizer(there), _in_recognizer(expected)
    # A reconstructor counts where both have one; the network's own stays as it is otherwise.
    if not all(any(name.startswith(RECONSTRUCTOR) for name in names) for names in (found, wanted)):
        for names in (found, wanted):
            for name in [name for name in names if name.startswith(RECONSTRUCTOR)]:
                del names[name]
    missing = [own for name, own in wanted.items() if name not in found]
    unexpected = [own for name, own in found.items() if name not in wanted]
    lines = [f"{path}: it has no {_some(missing)}"] * bool(missing)
    lines += [f"{path}: the network has no {_some(unexpected)}"] * bool(unexpected)
    if lines:
        raise WeightsError("\n".join(lines))
    return {own: found[name] for name, own in wanted.items()}


def _in_recognizer(names: Iterable[str]) -> dict[str, str]:
    """Names of weights, but for those of a head, by what a recognizer calls them."""
    own = list(names)
    wrapped = all(name.startswith(WRAPPER) for name in own)
    short = {name.removeprefix(WRAPPER) if wrapped else name: name for name in own}
    if not any(name.startswith(BACKBONE) for name in short):
        return {BACKBONE + name: own for name, own in short.items()}
    return {name: own for name, own in short.items() if not name.startswith(HEAD)}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"{name:.100}" for name in names[:SHOWN]) + more


Opened = tuple[Mapping[str, tuple[int, ...]], Callable[[str], Tensor]]


@contextmanager
def _opened(path: Path) -> Iterator[Opened]:
    """Shapes in a file by name, and what reads one of its tensors."""
    check_utf8(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected weights to begin from")
    with path.open("rb") as file:  # safetensors says of a file it may not read that there is none
        if not file.read(1):
            raise WeightsError(f"{path}: it is empty")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                names = list(file.keys())
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
                yield shapes, file.get_tensor
        except SafetensorError as error:
            raise WeightsError(f"{path}: damaged or cut short ({error})") from None
        return
    weights = _tensors(path)
    yield {name: tuple(value.shape) for name, value in weights.items()}, weights.__getitem__


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that PyTorch saved, which stay on disk until they are used."""
    if not is_zipfile(path):
        raise WeightsError(
            f"{path}: not a file of PyTorch 1.6 or later; one of an older version has to be saved "
            "again by a newer one"
        )
    try:
        with ZipFile(path) as file:
            # What is stored as it is takes no more memory than the file.
            if any(part.compress_type != ZIP_STORED for part in file.infolist()):
                raise ValueError
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # PyTorch's reader raises anything at a damaged file
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {named[1]:.100}, which weights do not need" if named else "damaged"
        raise WeightsError(f"{path}: not read: {reason}") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise WeightsError(f"{path}: expected weights by name, found a {type(found).__name__}")
    for name, value in found.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise WeightsError(
                f"{path}: {name!r:.100} is no plain tensor; expected weights by name"
            )
    return found


def _is_plain(value: Any) -> bool:
    plain = isinstance(value, Tensor) and value.layout == torch.strided
    return plain and value.device.type == "cpu" and not (value.is_quantized or value.is_complex())
