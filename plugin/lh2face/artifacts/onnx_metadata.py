"""What this project keeps in an ONNX file's metadata: values by name, each as JSON."""

import json
from pathlib import Path
from typing import Any


def write_metadata(path: Path, values: dict[str, Any]) -> None:
    """Put values into the metadata of an ONNX file."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in values.items()})
    onnx.save(model, path)


def read_metadata(path: Path) -> dict[str, Any]:
    """The values of :func:`write_metadata`; empty for a file of another program.

    Raises:
        ValueError: If the file is not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        entries = onnx.load(path, load_external_data=False).metadata_props
    except DecodeError:
        raise ValueError(f"{path}: not an ONNX file, nor a model's folder") from None
    try:
        return {entry.key: json.loads(entry.value) for entry in entries}
    except json.JSONDecodeError:
        return {}
