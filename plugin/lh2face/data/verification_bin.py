"""Verification bins (``lfw.bin``, ``cfp_fp.bin`` …): pairs of encoded images in a pickle.

The pickle holds ``(bins, issame)``. It comes from strangers, so it is read by an unpickler that
admits the few types such a file needs and refuses every other, before anything could run.
"""

import io
import pickle
import pickletools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


class BinError(ValueError):
    """A verification bin that cannot be used; the message names the file."""


def _numpy_types() -> dict[tuple[str, str], Any]:
    # Old numpy wrote numpy.core, new numpy numpy._core; both mean these.
    from numpy._core import multiarray

    allowed = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
    }
    for package in ("numpy.core", "numpy._core"):
        allowed[f"{package}.multiarray", "_reconstruct"] = multiarray._reconstruct
        allowed[f"{package}.multiarray", "scalar"] = multiarray.scalar
        allowed[f"{package}.numeric", "_frombuffer"] = np._core.numeric._frombuffer
    return allowed


class _BinUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _numpy_types()[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it holds the type {module}.{name}, which a verification bin does not need"
            ) from None


def _check_memory(raw: bytes) -> None:
    """Raise :class:`pickle.UnpicklingError` where a pickle asks for more memory than it is long.

    An unpickler makes a table up to the highest number that the pickle remembers an object by, and
    those that are written number them one by one.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise pickle.UnpicklingError(f"it numbers its object {argument} before so many came")


def read_bin(path: str | Path) -> tuple[list[bytes], np.ndarray]:
    """Read a verification bin without executing anything in it.

    Args:
        path: The ``.bin`` file.

    Returns:
        The 2n encoded images, and ``(n,)`` bool: whether images 2i and 2i + 1 show one person.

    Raises:
        BinError: If the file is no such pickle, holds any other type, or the numbers disagree.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        _check_memory(raw)
        content = _BinUnpickler(io.BytesIO(raw), encoding="bytes").load()
    except FileNotFoundError:
        raise
    except Exception as error:
        # A broken pickle raises almost anything: IndexError, KeyError, UnicodeDecodeError …
        raise BinError(f"{path}: not a verification bin: {error}") from None
    if not (isinstance(content, (tuple, list)) and len(content) == 2):
        raise BinError(f"{path}: expected (bins, issame), found a {type(content).__name__}")
    images, same = content
    try:
        images = [_encoded(image) for image in images]
        same = np.array([bool(value) for value in same])
    except (TypeError, ValueError) as error:
        raise BinError(f"{path}: expected encoded images and true or false: {error}") from None
    if len(images) != 2 * len(same):
        raise BinError(
            f"{path}: {len(same)} pairs need {2 * len(same)} images, found {len(images)}"
        )
    return images, same


def _encoded(image: Any) -> bytes:
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        return image.tobytes()
    if not isinstance(image, bytes):
        raise TypeError(f"an image is a {type(image).__name__}")
    return image


def write_bin(path: str | Path, images: Sequence[bytes], same: Sequence[bool]) -> None:
    """Write a verification bin that insightface's tools read.

    Args:
        path: The ``.bin`` file.
        images: 2n encoded images.
        same: n flags: whether images 2i and 2i + 1 show one person.

    Raises:
        ValueError: If there are not two images to each flag.
    """
    if len(images) != 2 * len(same):
        raise ValueError(f"images: {len(same)} pairs need {2 * len(same)}, found {len(images)}")
    with Path(path).open("wb") as file:
        pickle.dump((list(images), [bool(value) for value in same]), file, protocol=4)
