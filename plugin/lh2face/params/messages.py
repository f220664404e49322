"""Validation of values against a schema, with error messages in words."""

import typing
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lh2face.params.sections import ParamsError, Section

MOST_ERRORS = 10
# Pydantic's errors for a value where a section or a table of sections belongs.
NOT_A_SECTION = ("dict_type", "model_type", "model_attributes_type", "dataclass_type")
Checked = TypeVar("Checked", bound=BaseModel)


def checked(
    schema: type[Checked], values: dict[str, Any], source: Path | str, folder: Path = Path()
) -> Checked:
    """Validate the values of a file.

    Args:
        schema: The section that the file contains.
        values: Its content.
        source: The file, for messages.
        folder: Folder to which the paths of recipes are relative.

    Returns:
        The section with its values.

    Raises:
        ParamsError: If a value is not allowed; the message has one line per wrong value.
    """
    try:
        return schema.model_validate(values, context={"folder": folder})
    except ValidationError as error:
        # Wrong and unknown keys come before missing ones: one may be a misspelling of the other.
        found = sorted(error.errors(), key=lambda item: item["type"] == "missing")
        lines = [f"{source}: {error_line(schema, item)}" for item in found[:MOST_ERRORS]]
        if len(found) > MOST_ERRORS:
            lines.append(f"{source}: and {len(found) - MOST_ERRORS} more")
        raise ParamsError("\n".join(lines)) from None


def error_line(schema: type[BaseModel], error: ErrorDetails) -> str:
    """Write one of pydantic's errors as a line that begins with the key."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    keys, section = located(schema, error["loc"])
    # Escaped as by Python, so that a line break in a key does not break the line.
    key = ".".join(repr(str(part))[1:-1] for part in keys)
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key, allowed are {', '.join(section.model_fields)}"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = f"found {error['ctx']['tag']!r:.100}" if "tag" in error["ctx"] else "missing"
        return f"{key}.type: {found}, allowed are {', '.join(types_of(section))}"
    if error["type"] in NOT_A_SECTION:
        message = "expected keys with values, as in {key: value}"
    # The messages of this package's own checks already contain the value.
    found = "" if error["type"] == "value_error" else f", found {error['input']!r:.100}"
    return f"{key}: {message}{found}"


def located(schema: Any, location: tuple[int | str, ...]) -> tuple[list[int | str], Any]:
    """Translate pydantic's location of an error into keys of ``params.yaml``.

    Pydantic's location also contains the ``type`` of each section that can have several types.

    Args:
        schema: Section in which the location begins.
        location: Pydantic's location.

    Returns:
        The keys, and the section that has the last of them. Where the location ends at a section
        that can have several types, it is the union of these types.
    """
    keys: list[int | str] = []
    held: Any = schema
    for part in location:
        if part in (of_type := types_of(schema)):
            schema = of_type[str(part)]
            continue
        keys.append(part)
        held = schema
        inside = getattr(schema, "model_fields", None)
        if inside is None:
            schema = next(iter(get_args(schema)[::-1]), None)
        elif part in inside:
            schema = without_none(inside[str(part)].annotation)
    return keys, schema if types_of(schema) else held


def types_of(schema: Any) -> dict[str, type[Section]]:
    """Return the sections of a union by their ``type``; empty if ``schema`` is no such union."""
    if typing.get_origin(schema) is not Annotated:
        return {}
    kinds = typing.get_args(get_args(schema)[0]) or (get_args(schema)[0],)
    return {
        typing.get_args(kind.model_fields["type"].annotation)[0]: kind
        for kind in kinds
        if "type" in getattr(kind, "model_fields", ())
    }


def without_none(hint: Any) -> Any:
    """Return T of a type hint ``T | None``, or else the hint itself."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    is_optional = type(None) in get_args(hint) and len(kinds) == 1
    return kinds[0] if is_optional else hint
