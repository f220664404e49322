"""The provenance of any result: of a model, an exported file, an evaluation or a report."""

from pathlib import Path
from typing import Any

from lh2face.artifacts.file_names import DESCRIPTION
from lh2face.artifacts.provenance import PROVENANCE
from lh2face.files.json_object import read_object
from lh2face.onnx.files import read_metadata


def read_provenance(path: Path) -> dict[str, Any]:
    """Read the provenance of a result.

    Args:
        path: Folder of a model, an evaluation or a report, a file in it, or an exported ONNX file.

    Raises:
        ValueError: If there is none.
    """
    if path.suffix == ".onnx":
        found = read_metadata(path)
    else:
        folder = path if path.is_dir() else path.parent
        files = [folder / DESCRIPTION, folder / PROVENANCE]
        found = {file.name: read_object(file, "a result") for file in files if file.exists()}
        found = found.get(DESCRIPTION, {"provenance": found.get(PROVENANCE)})
    made = found.get("provenance")
    if not made or not isinstance(made, dict):
        raise ValueError(f"{path}: it has no provenance")
    return made
