"""Reading of ONNX files without running them, and this project's values in their metadata."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.text import check_utf8

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import ModelProto

# protobuf's own limit in bytes; larger models keep their weights in separate files.
LARGEST = (1 << 31) - 1


class OnnxError(ValueError):
    """An ONNX file cannot be used; the message names it."""


def read_onnx(path: Path) -> "ModelProto":
    """Read an ONNX file, without the weights that it keeps in separate files.

    Raises:
        OnnxError: If it is not an ONNX file, or a separate file with its weights is missing or
            outside of its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError

    check_utf8(path)
    if not path.is_file():
        raise OnnxError(f"{path}: not a file; expected an ONNX file")
    if path.stat().st_size > LARGEST:
        raise OnnxError(f"{path}: expected at most {LARGEST} bytes, found {path.stat().st_size}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise OnnxError(f"{path}: not an ONNX file, nor a model's folder") from None
    if not model.HasField("graph"):
        raise OnnxError(f"{path}: not an ONNX file, nor a model's folder: there is no graph in it")
    weight_files(path, model)
    return model


def weight_files(path: Path, model: "ModelProto") -> list[Path]:
    """List the separate files in which an ONNX file keeps weights, sorted.

    Args:
        path: The ONNX file.
        model: Its content, from :func:`read_onnx`.

    Raises:
        OnnxError: If one is missing or, after following links, outside of the folder of ``path``.
    """
    folder, found = path.resolve().parent, set()
    for name in sorted({name for tensor in _tensors(model) for name in _locations(tensor)}):
        file = (folder / name).resolve() if "\0" not in name else folder
        if not file.is_relative_to(folder):
            raise OnnxError(f"{path}: keeps weights in {name!r}, outside of its own folder")
        if not file.is_file():
            raise OnnxError(f"{path}: keeps weights in {name!r}; there is no such file beside it")
        found.add(file)
    return sorted(found)


def write_metadata(path: Path, values: dict[str, Any]) -> None:
    """Replace the metadata of an ONNX file by values, which are written as JSON."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in values.items()})
    onnx.save(model, path)


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the values of :func:`write_metadata`; entries that are not JSON are skipped.

    Raises:
        OnnxError: If :func:`read_onnx` raises it.
    """
    found = {}
    for entry in read_onnx(path).metadata_props:
        try:
            found[entry.key] = json.loads(entry.value)
        except (json.JSONDecodeError, RecursionError):
            continue
    return found


def _tensors(message: "Message") -> Iterator["Message"]:
    """Yield every tensor in a message at any depth, also in functions and in graphs of nodes."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _tensors(part)


def _locations(tensor: Any) -> list[str]:
    """List the names of the files that contain a tensor's values."""
    return [entry.value for entry in tensor.external_data if entry.key == "location"]
