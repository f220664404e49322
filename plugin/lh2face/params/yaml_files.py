"""Safe reading of YAML files of parameters, with limits for their size."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import Node

from lh2face.params.sections import ParamsError

# Limits of a YAML file in bytes and nodes; nodes are counted with every alias expanded.
LARGEST_FILE, MOST_NODES = 1 << 16, 20_000


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the values of a YAML file.

    Raises:
        ParamsError: If the file is missing, is not YAML, is too large, or is not a mapping.
    """
    return parse_yaml(YAML(typ="safe"), read_text(path), path)


def read_text(path: Path) -> str:
    """Read the text of a file of parameters, with the errors of :func:`read_yaml`."""
    if not path.exists():
        raise ParamsError(f"{path}: not found; run from the folder that holds it")
    if not path.is_file():
        raise ParamsError(f"{path}: not a file")
    with path.open("rb") as file:
        raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise ParamsError(f"{path}: larger than {LARGEST_FILE >> 10} KiB, too large for parameters")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: not UTF-8 at byte {error.start}") from None


def parse_yaml(yaml: YAML, text: str, path: Path) -> dict[str, Any]:
    """Parse the mapping of a YAML text, with the errors of :func:`read_yaml`.

    Args:
        yaml: The parser to load the values with.
        text: The text.
        path: Its file, for messages.
    """
    try:
        node = YAML(typ="safe").compose(text)
        if written_out(node, {}) > MOST_NODES:
            raise ParamsError(
                f"{path}: more than {MOST_NODES} values, with every alias (*name) written out"
            )
        values = yaml.load(text)
    except RecursionError:
        raise ParamsError(f"{path}: nested too deep") from None
    except (YAMLError, ValueError) as error:
        if isinstance(error, ParamsError):
            raise
        reason = " ".join(str(error).replace('in "<unicode string>",', "at").split())
        raise ParamsError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"{values!r:.100}"
        raise ParamsError(f"{path}: expected a mapping of keys to values, found {found}")
    return values


def written_out(node: Node | None, known: dict[int, int]) -> int:
    """Count the values of a YAML node with all aliases expanded.

    Args:
        node: The node; an alias is the same object as its anchor.
        known: Counts of the nodes seen so far, by ``id``.
    """
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # for a node that contains itself
        value = getattr(node, "value", None)
        inner = value if isinstance(value, list) else []
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(written_out(part, known) for part in parts)
    return known[id(node)]
