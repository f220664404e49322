"""The folder of a trained model: ``model.safetensors`` and ``model.json``.

The first has the weights. The second has the config to rebuild the model, and its provenance.
"""

import hashlib
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from lh2face.artifacts.file_names import DESCRIPTION, ONNX, RECONSTRUCTOR_WEIGHTS, WEIGHTS
from lh2face.files.digests import digest
from lh2face.files.json_object import read_object, whole
from lh2face.onnx.files import read_onnx, weight_files
from lh2face.recognizers.face_recognizer import FaceRecognizer
from lh2face.recognizers.weight_names import weights_without_head
from lh2face.registry import ROLES, build, check
from lh2face.text import check_utf8

if TYPE_CHECKING:
    from lh2face.reconstruction import Reconstructor


def save_model(
    directory: Path, model: FaceRecognizer, config: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Write a recognizer without the weights of its head, which only training needs.

    Args:
        directory: An existing folder to write into.
        model: The recognizer.
        config: The config that built it, JSON types only; its ``head`` is kept as a record.
        provenance: How the model was made, JSON types only; it is written unchanged.
    """
    write_weights(directory / WEIGHTS, weights_without_head(model))
    description = {
        "recognizer": _without_init_cfg({k: v for k, v in config.items() if k != "head"}),
        "head": config.get("head"),
        "image_size": config["backbone"]["image_size"],
        "embedding_size": config["backbone"]["embedding_size"],
        "provenance": provenance,
    }
    (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _without_init_cfg(config: Any) -> Any:
    """Remove every ``init_cfg``, which names the weights before training, at any depth."""
    if not isinstance(config, dict):
        return config
    return {key: _without_init_cfg(one) for key, one in config.items() if key != "init_cfg"}


def write_weights(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write tensors as a safetensors file.

    Raises:
        OSError: If it cannot be written; safetensors' own writer raises another class.
    """
    path.write_bytes(save(weights))


def read_description(directory: Path) -> dict[str, Any]:
    """Read and check the ``model.json`` of a model folder.

    Raises:
        ValueError: If the file is absent, is not as :func:`save_model` writes it, or names a class
            that is not registered.
    """
    path = directory / DESCRIPTION
    description = read_object(path, "a trained model's folder")
    missing = {"recognizer", "image_size", "embedding_size"} - set(description)
    if missing:
        raise ValueError(f"{path}: missing {sorted(missing)}")
    recognizer = description["recognizer"]
    check("recognizer", recognizer, f"{path}: recognizer")
    for key in ("image_size", "embedding_size"):
        expected, found = recognizer["backbone"].get(key), description[key]
        if found != expected or not isinstance(found, int):
            raise ValueError(
                f"{path}: {key}: expected that of the recognizer's backbone, {expected!r:.100}, "
                f"found {found!r:.100}"
            )
    _check_mappings(path, description, ("head", "head"), ("provenance", "params", "train"))
    return description


def read_reconstructor(directory: Path) -> dict[str, Any]:
    """Read the config of the reconstructor that stage ``fit3d`` wrote.

    Raises:
        ValueError: If ``model.json`` is absent, is not from that stage, or names a class that is
            not registered.
    """
    path = directory / DESCRIPTION
    config: dict[str, Any] = read_object(path, "a folder of stage fit3d").get("reconstructor", {})
    check("reconstructor", config, f"{path}: reconstructor")
    return config


def load_model(directory: Path, device: torch.device | str = "cpu") -> FaceRecognizer:
    """Rebuild a recognizer for inference.

    Args:
        directory: Folder written by :func:`save_model`.
        device: Device of the model.

    Returns:
        The recognizer, without a head, in evaluation mode.

    Raises:
        ValueError: If a file is absent or damaged, or the weights do not belong to the
            description.
    """
    config = read_description(directory)["recognizer"]
    model: FaceRecognizer = _load("recognizer", config, directory / WEIGHTS).eval().to(device)
    return model


def load_reconstructor(directory: Path) -> "Reconstructor":
    """Rebuild the reconstructor of stage ``fit3d``; errors are those of :func:`load_model`."""
    config, weights = read_reconstructor(directory), directory / RECONSTRUCTOR_WEIGHTS
    model: Reconstructor = _load("reconstructor", config, weights)
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights of a safetensors file into a model.

    Raises:
        ValueError: If the file is absent or damaged, or has other names or shapes.
    """
    _check_weights(model, path)
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: weights do not fit {DESCRIPTION}: {error}") from None


def _load(role: str, config: dict[str, Any], weights: Path) -> Any:
    """Build the model of a description and load its weights, after checking that they fit."""
    where = f"{weights.with_name(DESCRIPTION)}: {role}"
    # The meta device allocates no memory, so absurd sizes in a description do no harm.
    with torch.device("meta"):
        _check_weights(build(role, config, where), weights)
    model = build(role, config, where)
    load_weights(model, weights)
    return model


def _check_weights(model: nn.Module, path: Path) -> None:
    """Check names and shapes of weights; only the header of the file is read."""
    check_utf8(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a trained model's folder")
    with path.open("rb"):  # safetensors reports an unreadable file as missing
        expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or cut short ({error})") from None
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{path}: weights do not fit {DESCRIPTION}: {name:.100} is "
                f"{found.get(name, 'missing')}, expected {expected.get(name, 'none')}"
            )


def _check_mappings(path: Path, values: dict[str, Any], *keys: tuple[str, ...]) -> None:
    """Check that the values along each path of keys are mappings, or absent."""
    for names in keys:
        inner: Any = values
        for depth, name in enumerate(names, 1):
            inner = inner.get(name)
            if inner is None:
                break
            if not isinstance(inner, dict):
                where = ".".join(names[:depth])
                raise ValueError(f"{path}: {where}: expected a mapping, found {inner!r:.100}")


def head_dim(path: Path) -> int | None:
    """Return n, the dimension of the vMF distribution of the head that a model was trained with.

    Args:
        path: As for :func:`model_digest`.

    Returns:
        ``vmf_dim`` in the head's config, or else the default of the head's class; None for an ONNX
        file, a model without a head, and a head without n.

    Raises:
        ValueError: If :func:`read_description` raises it, or n is no whole number of at least 2.
    """
    if not path.is_dir() or (path / ONNX).is_file():
        return None
    head = read_description(path).get("head") or {}
    head = head.get("head") or head  # a wrapper, such as the sharded one, holds the head
    cls = ROLES["head"].classes().get(str(head.get("type")))
    declared = inspect.signature(cls).parameters.get("vmf_dim") if cls else None
    found = head.get("vmf_dim", declared.default if declared else None)
    return None if found is None else whole(found, path / DESCRIPTION, "head.vmf_dim", 2)


def model_digest(path: Path) -> str:
    """Compute the SHA-256 that identifies a model: the digest of the file with its weights.

    Args:
        path: Folder of a trained model or of stage ``other``, or an ONNX file. If the ONNX file
            keeps weights in other files, these are included.

    Raises:
        ValueError: If there is no model.
    """
    if (path / ONNX).is_file():
        path = path / ONNX
    if path.is_dir():
        path = path / WEIGHTS
        if not path.is_file():
            raise ValueError(f"{path}: no such file; expected a trained model's folder")
        return digest(path)
    folder = path.resolve().parent
    files = weight_files(path, read_onnx(path))
    beside = {file.relative_to(folder).as_posix(): digest(file) for file in files}
    if not beside:
        return digest(path)
    return hashlib.sha256(json.dumps([digest(path), beside]).encode()).hexdigest()
