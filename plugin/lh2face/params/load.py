"""``params.yaml`` read, and an overlay put over it."""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lh2face.files.outputs import atomic_file
from lh2face.params.messages import checked
from lh2face.params.schema import Params
from lh2face.params.yaml_files import parse_yaml, read_text, read_yaml

# Sections that an overlay does not add to.
REPLACED = {"sources", "benchmarks", "validation"}


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check the parameters.

    Raises:
        ParamsError: If the file is missing, is not YAML, or a key is unknown, missing or has a
            value that is not allowed.
    """
    return checked(Params, read_yaml(path), path, path.parent)


def overlay_params(overlay: Path, path: Path = Path("params.yaml")) -> None:
    """Put the values of ``overlay`` into ``params.yaml``, keeping its comments and other keys.

    Raises:
        ParamsError: If a file cannot be read, or the result would not be valid; ``params.yaml`` is
            then left as it was.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 100
    values = parse_yaml(yaml, read_text(path), path)
    merge(values, read_yaml(overlay))
    stream = StringIO()
    yaml.dump(values, stream)
    text = stream.getvalue()
    values = parse_yaml(YAML(typ="safe"), text, overlay)
    checked(Params, values, f"{overlay}, put over {path}", path.parent)
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def merge(base: dict[str, Any], update: dict[str, Any]) -> None:
    """Put the values of ``update`` into ``base``, section by section.

    ``sources``, ``benchmarks`` and ``validation`` are replaced whole where the update gives a type,
    or nothing: other data take the place of those that are there.
    """
    for key, value in update.items():
        whole = not isinstance(value, dict) or not isinstance(base.get(key), dict)
        # A config with a type is one value: its arguments belong to that type alone.
        if whole or "type" in value or (key in REPLACED and (not value or _has_types(value))):
            base[key] = value
        else:
            merge(base[key], value)


def _has_types(section: dict[str, Any]) -> bool:
    return any(isinstance(value, dict) and "type" in value for value in section.values())
