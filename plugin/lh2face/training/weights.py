"""Initial weights for training, from a model of this project or a published model."""

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

from lh2face.artifacts import file_names
from lh2face.recognizers.weight_names import BACKBONE, HEAD, RECONSTRUCTOR
from lh2face.text import check_utf8

# File of weights that stage ``weights`` writes.
WEIGHTS = "weights.safetensors"
# Names of files of weights in a folder: that of a trained model, and that of stage ``weights``.
IN_FOLDER = (file_names.WEIGHTS, WEIGHTS)
# Prefix that DataParallel adds to every name.
WRAPPER = "module."
# Number of names that a message lists.
SHOWN = 3


class WeightsError(ValueError):
    """Weights cannot be used; the message names the file."""


@WEIGHT_INITIALIZERS.register_module()
class FaceWeights:
    """Initialise a backbone or a whole recognizer with the weights of a file.

    mmengine calls this before training begins. A resumed run then loads the weights of its
    checkpoint. A head is never initialised from the file, because its proxies belong to other
    identities.

    Args:
        path: A file or folder that :func:`read_weights` reads.

    Raises:
        WeightsError: If :func:`read_weights` raises it.

    Example:
        ``backbone=dict(type="IResNet", depth=50,
        init_cfg=dict(type="FaceWeights", path="backbone.pth"))``
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into a backbone or a recognizer."""
        module.load_state_dict(read_weights(self.path, module), strict=False)


def read_weights(path: Path, module: nn.Module) -> dict[str, Tensor]:
    """Read those weights of a file that belong to a module.

    Names and shapes are compared before any weight is read. No code from the file is executed.

    Args:
        path: A trained model's folder, a folder of stage ``weights``, a safetensors file, or a file
            saved by PyTorch ≥ 1.6. The latter contains a dictionary of tensors, such as the
            ``backbone.pth`` of insightface's arcface_torch, or a checkpoint with such a dictionary
            as ``state_dict``. The names are those of a backbone's weights, or those of a
            recognizer's weights, which begin with ``backbone.``. All names may have the prefix
            ``module.``.
        module: A backbone or a recognizer; it may be on the ``meta`` device.

    Returns:
        Tensors by the module's names: all weights of a backbone, or those of a recognizer's
        backbone and, if the file has them, of its reconstructor.

    Raises:
        WeightsError: If the file is missing, damaged, of another format, or holds NaN or infinity;
            or if names other than a head's are missing or unexpected, or shapes differ.
    """
    if path.is_dir():
        path = _in_folder(path)
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    with _opened(path) as (shapes, read):
        names = _matched(shapes, expected, path)
        for name, there in names.items():
            if shapes[there] != expected[name]:
                raise WeightsError(
                    f"{path}: {there:.100} has the shape {list(shapes[there])}, the network needs "
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
    """Map the network's names of weights to the names in the file."""
    found, wanted = _in_recognizer(there), _in_recognizer(expected)
    # A reconstructor is compared only where both have one; otherwise it is ignored.
    if not all(any(name.startswith(RECONSTRUCTOR) for name in names) for names in (found, wanted)):
        for names in (found, wanted):
            for name in [name for name in names if name.startswith(RECONSTRUCTOR)]:
                del names[name]
    missing = [own for name, own in wanted.items() if name not in found]
    unexpected = [own for name, own in found.items() if name not in wanted]
    lines = [f"{path}: the file has no {_some(missing)}"] * bool(missing)
    lines += [f"{path}: the network has no {_some(unexpected)}"] * bool(unexpected)
    if lines:
        raise WeightsError("\n".join(lines))
    return {own: found[name] for name, own in wanted.items()}


def _in_recognizer(names: Iterable[str]) -> dict[str, str]:
    """Map a recognizer's names of weights to the given names; those of a head are left out."""
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
    """Open a file; yield the shapes of its tensors by name, and a function that reads one."""
    check_utf8(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected initial weights")
    with path.open("rb") as file:  # a file without read permission: OSError with a clear message
        if not file.read(1):
            raise WeightsError(f"{path}: the file is empty")
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
    """Return the tensors of a file that PyTorch saved; their values are read only when used."""
    if not is_zipfile(path):
        raise WeightsError(
            f"{path}: not a file of PyTorch 1.6 or later; if an older version saved it, save it "
            "again with a newer one"
        )
    try:
        with ZipFile(path) as file:
            # Without compression, the tensors cannot take more memory than the file's size.
            if any(part.compress_type != ZIP_STORED for part in file.infolist()):
                raise ValueError
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # PyTorch raises many types of error for a damaged file
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {named[1]:.100}, which weights do not need" if named else "damaged"
        raise WeightsError(f"{path}: not read: {reason}") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise WeightsError(
            f"{path}: expected a dictionary of tensors, found a {type(found).__name__}"
        )
    for name, value in found.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise WeightsError(
                f"{path}: {name!r:.100} is not a plain tensor; expected a dictionary of tensors"
            )
    return found


def _is_plain(value: Any) -> bool:
    plain = isinstance(value, Tensor) and value.layout == torch.strided
    return plain and value.device.type == "cpu" and not (value.is_quantized or value.is_complex())
