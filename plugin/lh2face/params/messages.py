"""The values of a file in their schema, and what is wrong with them in words."""

import typing
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lh2face.params.sections import ParamsError, Section

MOST_ERRORS = 10
Checked = TypeVar("Checked", bound=BaseModel)


def checked(
    schema: type[Checked], values: dict[str, Any], source: Path | str, folder: Path = Path()
) -> Checked:
    """The values of a file in their schema; :class:`ParamsError` names what is not allowed.

    Args:
        schema: The section that the file holds.
        values: Its content.
        source: The file, for messages.
        folder: What the paths of recipes are relative to.
    """
    try:
        return schema.model_validate(values, context={"folder": folder})
    except ValidationError as error:
        # What is there and wrong comes before what is not there: it may be its other name.
        found = sorted(error.errors(), key=lambda item: item["type"] == "missing")
        lines = [f"{source}: {in_words(schema, item)}" for item in found[:MOST_ERRORS]]
        if len(found) > MOST_ERRORS:
            lines.append(f"{source}: and {len(found) - MOST_ERRORS} more")
        raise ParamsError("\n".join(lines)) from None


def in_words(schema: type[BaseModel], error: ErrorDetails) -> str:
    """One of pydantic's errors as a line that begins with the key."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    keys, section = located(schema, error["loc"])
    # As Python writes text, so that a line break in a key does not break the line.
    key = ".".join(repr(str(part))[1:-1] for part in keys)
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key, allowed are {', '.join(section.model_fields)}"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = f"found {error['ctx']['tag']!r:.100}" if "tag" in error["ctx"] else "missing"
        return f"{key}.type: {found}, allowed are {', '.join(types_of(section))}"
    # What a check of this module found is in its message.
    found = "" if error["type"] == "value_error" else f", found {error['input']!r:.100}"
    return f"{key}: {message}{found}"


def located(schema: Any, location: tuple[int | str, ...]) -> tuple[list[int | str], Any]:
    """The keys of a place in the parameters, and the section that holds the last of them.

    Pydantic's place has, beside the keys, the ``type`` of a section that can be of several; there,
    what it holds are the sections of all types.
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
    """The sections of a place that can be of several types, by type."""
    if typing.get_origin(schema) is not Annotated:
        return {}
    kinds = typing.get_args(get_args(schema)[0]) or (get_args(schema)[0],)
    return {
        typing.get_args(kind.model_fields["type"].annotation)[0]: kind
        for kind in kinds
        if "type" in getattr(kind, "model_fields", ())
    }


def without_none(hint: Any) -> Any:
    """Of "something or None" the something."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    is_optional = type(None) in get_args(hint) and len(kinds) == 1
    return kinds[0] if is_optional else hint
