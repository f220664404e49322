"""Overlays: files such as ``params/full.yaml`` whose values are put over ``params.yaml``.

``params.yaml`` is tracked by git and read by DVC, so the values have to stand in it. The file as it
was before is kept beside it as ``params.yaml.orig``. The next overlay is put over that one, so
overlays do not pile up, and comments come from the original each time.
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

# Sections that an overlay replaces instead of adding to them.
REPLACED = {"sources", "benchmarks", "validation"}
HEADER = (
    "# {names} over {original}; `lh2face params` takes it back. Digest of what follows: {digest}\n"
)
MADE_HERE = re.compile(r"# .* over .*; `lh2face params` takes it back\. Digest .*: (\w{16})\n")


def overlay_params(overlays: Sequence[Path], path: Path = Path("params.yaml")) -> None:
    """Put the values of overlays into ``params.yaml``, or take those of the last call back.

    Args:
        overlays: Put over each other in this order. Without any, ``params.yaml`` is again what it
            was before the first overlay.
        path: The parameters.

    Raises:
        ParamsError: If a file cannot be read, the result would not be valid, or ``params.yaml``
            was changed by hand since an overlay was put over it. It is then left as it was.
    """
    original = path.with_name(f"{path.name}.orig")
    here = read_text(path)
    base = read_text(original) if is_made_here(here, path, original) else here
    if overlays:
        text, values = base, {}
        for overlay in overlays:
            text, values = put_over(text, overlay, path)
        names = ", ".join(map(str, overlays))
        checked(Params, values, f"{names}, put over {path}", path.parent)
        with atomic_file(original) as partial:
            partial.write_text(base, encoding="utf-8")
        header = HEADER.format(names=names, original=original.name, digest=digest(text))
        with atomic_file(path) as partial:
            partial.write_text(header + text, encoding="utf-8")
    elif base is here:
        raise ParamsError(f"{path}: no overlay was put over it")
    else:
        with atomic_file(path) as partial:
            partial.write_text(base, encoding="utf-8")
        original.unlink()


def is_made_here(text: str, path: Path, original: Path) -> bool:
    """Whether a text of parameters is what :func:`overlay_params` wrote.

    Raises:
        ParamsError: If it was, and somebody changed it since.
    """
    made = MADE_HERE.match(text)
    if made is None or not original.exists():
        return False
    if digest(text[made.end() :]) != made[1]:
        raise ParamsError(
            f"{path}: changed by hand since an overlay was put over it. Put the change into an "
            f"overlay of yours; or delete {original.name}, and {path.name} is what others are put "
            "over"
        )
    return True


def digest(text: str) -> str:
    """Tells a text from one that was changed."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def put_over(text: str, overlay: Path, path: Path) -> tuple[str, dict[str, Any]]:
    """The text of parameters with the values of an overlay, comments kept; and all values in it.

    Args:
        text: That of the parameters.
        overlay: The file of the overlay.
        path: The file of the parameters, for messages.

    Raises:
        ParamsError: If one of the two is not YAML or holds no mapping, or ``path`` is written in
            such a way that its sections cannot be told apart.
    """
    new = parse_yaml(YAML(typ="safe"), update := read_text(overlay), overlay)
    expected: dict[str, Any] = parse_yaml(YAML(typ="safe"), text, path)
    merge(expected, new)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1 << 12  # lines of the overlay stay lines
    # ruamel.yaml ties what stands between two sections to the last value of the first; it would go
    # where that value is replaced.
    head, sections = divided(text)
    values = parse_yaml(yaml, head + "".join(body for body, _ in sections), path)
    _, parts = divided(update)
    merge(values, parse_yaml(yaml, "".join(body for body, _ in parts), overlay))
    stream = StringIO()
    yaml.dump(values, stream)
    head, dumped = divided(stream.getvalue())
    tails = zip_longest(dumped, (tail for _, tail in sections), fillvalue="")
    result = head + "".join(section[0] + tail for section, tail in tails if section)
    if parse_yaml(YAML(typ="safe"), result, path) != expected:
        raise ParamsError(f"{path}: expected keys at the first column, their values indented below")
    return result, expected


def divided(text: str) -> tuple[str, list[tuple[str, str]]]:
    """What stands before the first section, and every section with what stands behind it.

    A section is a key at the first column and the indented lines below it; blank lines and comments
    at the first column stand between two of them.
    """
    head, *sections = re.split(r"^(?=[^\s#-])", text, flags=re.MULTILINE)
    behind = re.compile(r"(?:^[ \t]*\n|^#.*\n?)*\Z", re.MULTILINE)
    found = ((section, behind.search(section).start()) for section in sections)
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
