"""Overlays: files such as ``params/full.yaml`` whose values replace those in ``params.yaml``.

DVC reads ``params.yaml``, so the values must be written into it. The original file is kept as
``params.yaml.orig``. The next overlay is applied to the original, so overlays do not accumulate,
and comments always come from the original.
"""

import hashlib
import re
from collections.abc import Sequence
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lh2face.files.outputs import atomic_file
from lh2face.params.messages import checked
from lh2face.params.schema import Params
from lh2face.params.sections import ParamsError
from lh2face.params.yaml_files import parse_yaml, read_text

# Sections that an overlay replaces as a whole, instead of adding entries to them.
REPLACED = {"sources", "benchmarks", "validation"}
HEADER = (
    "# {names} over {original}; `lh2face params` takes it back. Digest of what follows: {digest}\n"
)
MADE_HERE = re.compile(r"# .* over .*; `lh2face params` takes it back\. Digest .*: (\w{16})\n")


def overlay_params(overlays: Sequence[Path], path: Path = Path("params.yaml")) -> None:
    """Write the values of overlays into ``params.yaml``, or undo the last call.

    Args:
        overlays: Overlays, applied in this order. Without any, the original ``params.yaml`` is
            restored.
        path: The parameters.

    Raises:
        ParamsError: If a file cannot be read, the result would not be valid, or ``params.yaml``
            was changed by hand after an overlay was applied. Then nothing is written.
    """
    original = path.with_name(f"{path.name}.orig")
    here = read_text(path)
    base = read_text(original) if is_overlaid(here, path, original) else here
    if overlays:
        text = base
        values: dict[str, Any] = {}
        for overlay in overlays:
            text, values = apply_overlay(text, overlay, path)
        names = ", ".join(map(str, overlays))
        checked(Params, values, f"{names}, applied to {path}", path.parent)
        with atomic_file(original) as partial:
            partial.write_text(base, encoding="utf-8")
        header = HEADER.format(names=names, original=original.name, digest=digest(text))
        with atomic_file(path) as partial:
            partial.write_text(header + text, encoding="utf-8")
    elif base is here:
        raise ParamsError(f"{path}: no overlay is applied to it, so there is nothing to undo")
    else:
        with atomic_file(path) as partial:
            partial.write_text(base, encoding="utf-8")
        original.unlink()


def is_overlaid(text: str, path: Path, original: Path) -> bool:
    """Whether :func:`overlay_params` wrote a text of parameters.

    Raises:
        ParamsError: If it did, and the text was changed afterwards.
    """
    made = MADE_HERE.match(text)
    if made is None or not original.exists():
        return False
    if digest(text[made.end() :]) != made[1]:
        raise ParamsError(
            f"{path}: changed by hand after an overlay was applied to it. Move the change to an "
            f"overlay of your own; or delete {original.name}, and the changed {path.name} becomes "
            "the original for later overlays"
        )
    return True


def digest(text: str) -> str:
    """Compute a short digest that shows whether a text was changed."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def apply_overlay(text: str, overlay: Path, path: Path) -> tuple[str, dict[str, Any]]:
    """Apply an overlay to a text of parameters; its comments are kept.

    Args:
        text: The text of the parameters.
        overlay: File of the overlay.
        path: File of the parameters, for messages.

    Returns:
        The new text, and all its values.

    Raises:
        ParamsError: If one of the two is not YAML or not a mapping, or the sections of ``path``
            cannot be separated.
    """
    new = parse_yaml(YAML(typ="safe"), update := read_text(overlay), overlay)
    expected: dict[str, Any] = parse_yaml(YAML(typ="safe"), text, path)
    merge(expected, new)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 12  # do not wrap the lines of the overlay
    # ruamel.yaml attaches a comment between two sections to the last value of the first section.
    # It would be lost if this value is replaced, so such comments are cut out first.
    head, sections = split_sections(text)
    values = parse_yaml(yaml, head + "".join(body for body, _ in sections), path)
    _, parts = split_sections(update)
    merge(values, parse_yaml(yaml, "".join(body for body, _ in parts), overlay))
    stream = StringIO()
    yaml.dump(values, stream)
    head, dumped = split_sections(stream.getvalue())
    tails = zip_longest(dumped, (tail for _, tail in sections), fillvalue="")
    result = head + "".join(section[0] + tail for section, tail in tails if section)
    if parse_yaml(YAML(typ="safe"), result, path) != expected:
        raise ParamsError(
            f"{path}: expected each key at the first column, with its values indented below it"
        )
    return result, expected


def split_sections(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split a text into its head, and pairs of a section and the lines after it.

    A section is a key at the first column with the indented lines below it. The lines between two
    sections are blank lines, and comments at the first column.
    """
    head, *sections = re.split(r"^(?=[^\s#-])", text, flags=re.MULTILINE)
    behind = re.compile(r"(?:^[ \t]*\n|^#.*\n?)*\Z", re.MULTILINE)
    # Each section has a match, if only an empty one at its end.
    found = ((section, match.start()) for section in sections if (match := behind.search(section)))
    return head, [(section[:end], section[end:]) for section, end in found]


def merge(base: dict[str, Any], update: dict[str, Any]) -> None:
    """Merge the values of ``update`` into ``base``, section by section.

    ``sources``, ``benchmarks`` and ``validation`` are replaced as a whole if the update gives an
    entry with a type, or is empty. Then the new data replace all old data.

    Args:
        base: Mapping to change.
        update: New values.
    """
    for key, value in update.items():
        whole = not isinstance(value, dict) or not isinstance(base.get(key), dict)
        # A config with a type is replaced as a whole: its other keys belong to that type only.
        if whole or "type" in value or (key in REPLACED and (not value or _has_types(value))):
            base[key] = value
        else:
            merge(base[key], value)


def _has_types(section: dict[str, Any]) -> bool:
    return any(isinstance(value, dict) and "type" in value for value in section.values())
