"""A trained model on disk: ``model.safetensors`` (weights) and ``model.json`` (all that is needed
to rebuild it, and where it comes from)."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lh2face.artifacts.json_object import read_object
from lh2face.artifacts.onnx_metadata import read_onnx, weight_files
from lh2face.artifacts.provenance import digest, digests
from lh2face.recognizers import FaceRecognizer
from lh2face.registry import MODELS

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
HEAD_PREFIX = "head."


def save_model(
    directory: Path, model: FaceRecognizer, config: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Write a recognizer without its head, whose proxies belong to the training identities.

    Args:
        directory: An existing folder to write into.
        model: The recognizer.
        config: The config that built it, JSON types only; its ``head`` is kept as a record.
        provenance: What the model was made from, JSON types only; kept as it is.
    """
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(HEAD_PREFIX)
    }
    save_file(weights, directory / WEIGHTS)
    description = {
        "recognizer": {key: value for key, value in config.items() if key != "head"},
        "head": config.get("head"),
        "image_size": config["backbone"]["image_size"],
        "embedding_size": config["backbone"]["embedding_size"],
        "provenance": provenance,
    }
    (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")


def read_description(directory: Path) -> dict[str, Any]:
    """The ``model.json`` of a model directory.

    Raises:
        ValueError: If the file is absent or not what :func:`save_model` writes.
    """
    path = directory / DESCRIPTION
    description = read_object(path, "a trained model's folder")
    missing = {"recognizer", "image_size", "embedding_size"} - set(description)
    if missing:
        raise ValueError(f"{path}: missing {sorted(missing)}")
    return description


def load_model(directory: Path, device: torch.device | str = "cpu") -> FaceRecognizer:
    """Rebuild a recognizer for inference.

    Args:
        directory: What :func:`save_model` wrote.
        device: Where to put it.

    Returns:
        The recognizer, without a head, in evaluation mode.

    Raises:
        ValueError: If a file is absent or the weights do not belong to the description.
    """
    model = MODELS.build(read_description(directory)["recognizer"])
    path = directory / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a trained model's folder")
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: weights do not fit {DESCRIPTION}: {error}") from None
    return model.eval().to(device)


def model_digest(path: Path) -> str:
    """What tells a model from every other: SHA-256 of its weights.

    Args:
        path: Folder of a trained model, or an ONNX file; of one that keeps weights in files beside
            it, those count too.

    Raises:
        ValueError: If there is no model.
    """
    if path.is_dir():
        path = path / WEIGHTS
        if not path.is_file():
            raise ValueError(f"{path}: no such file; expected a trained model's folder")
        return digest(path)
    beside = digests(*weight_files(path, read_onnx(path)))
    if not beside:
        return digest(path)
    return hashlib.sha256(json.dumps([digest(path), beside]).encode()).hexdigest()


def recognizer_config(backbone: dict[str, Any], image_size: int) -> dict[str, Any]:
    """Config of a recognizer that only embeds.

    Args:
        backbone: Config of the backbone, ``embedding_size`` included.
        image_size: Side of the network's square input, px.

    Returns:
        What ``MODELS.build`` takes.
    """
    return {"type": "FaceRecognizer", "backbone": {**backbone, "image_size": image_size}}
