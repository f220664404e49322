"""The base class of the sections of ``params.yaml``, and the types of their values."""

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from lh2face.data.parameters import Seed


def unique(values: list[Any]) -> list[Any]:
    """Return the list; ``ValueError`` if a value occurs twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"found {value!r} more than once")
    return values


def ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return the numbers; ``ValueError`` if they are not strictly ascending."""
    for one, following in pairwise(values):
        if one >= following:
            raise ValueError(f"expected ascending numbers, found {following} after {one}")
    return values


Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(unique)]
# Names are parts of paths and of command lines.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$", max_length=100)]
Weight = Annotated[float, Field(ge=0)]


class ParamsError(ValueError):
    """``params.yaml`` cannot be used; the message names each wrong key."""


class Section(BaseModel):
    """Base class of all sections: no unknown keys, no conversions except from int to float."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def from_dataclass(name: str, cls: type, **more: Any) -> type[Section]:
    """Make a section with the fields, types and defaults of a dataclass.

    Args:
        name: Name of the section.
        cls: The dataclass; dataclasses in its fields become sections too.
        more: Further fields as (type, default).
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {
        field.name: (
            _with_sections(hints[field.name]),
            ... if field.default is dataclasses.MISSING else field.default,
        )
        for field in dataclasses.fields(cls)
    }
    section: type[Section] = create_model(
        name, __base__=Section, __doc__=cls.__doc__, **fields, **more
    )
    return section


def _with_sections(hint: Any) -> Any:
    """Replace the dataclasses in a type hint by sections, and ranges by bounds."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_dataclass(hint.__name__, hint)
    if typing.get_origin(hint) is Annotated:
        return Annotated[_with_sections(hint.__origin__), *map(_bounds, hint.__metadata__)]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return functools.reduce(operator.or_, map(_with_sections, get_args(hint)))
    return hint


def _bounds(metadata: Any) -> Any:
    """Replace a range by the bounds of whole numbers in it."""
    is_range = isinstance(metadata, range)
    return Field(ge=metadata[0], le=metadata[-1]) if is_range else metadata


def any_of(registry: Mapping[str, type]) -> Any:
    """Make a union of sections, one per type of a registry; the key ``type`` selects one."""
    sections = [
        from_dataclass(cls.__name__, cls, type=(Literal[name], ...))
        for name, cls in registry.items()
    ]
    return Annotated[functools.reduce(operator.or_, sections), Field(discriminator="type")]
