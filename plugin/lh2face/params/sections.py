"""What the sections of ``params.yaml`` are made of: their base, and the types of their values."""

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from lh2face.data.training_sources import Seed


def unique(values: list[Any]) -> list[Any]:
    """A list in which nothing is twice; ``ValueError`` if something is."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"found {value!r} more than once")
    return values


def ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers each larger than the one before; ``ValueError`` if not."""
    for one, following in pairwise(values):
        if one >= following:
            raise ValueError(f"expected ascending numbers, found {following} after {one}")
    return values


Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(unique)]
# Names become parts of paths and of command lines.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$", max_length=100)]
Weight = Annotated[float, Field(ge=0)]


class ParamsError(ValueError):
    """``params.yaml`` cannot be used; the message names each key at fault."""


class Section(BaseModel):
    """A part of ``params.yaml``: no unknown keys, no conversions but from 30 to 30.0."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def from_dataclass(name: str, cls: type, **more: Any) -> type[Section]:
    """A section with the fields, types and defaults of a dataclass, so each knob is named once.

    Args:
        name: Of the section.
        cls: The dataclass; a field may hold another one.
        more: Further fields as (type, default).
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {
        field.name: (
            _with_sections(hints[field.name]),
            ... if field.default is dataclasses.MISSING else field.default,
        )
        for field in dataclasses.fields(cls)
    }
    return create_model(name, __base__=Section, __doc__=cls.__doc__, **fields, **more)


def _with_sections(hint: Any) -> Any:
    """A type, dataclasses in it as sections."""
    if dataclasses.is_dataclass(hint):
        return from_dataclass(hint.__name__, hint)
    if typing.get_origin(hint) is Annotated:
        return Annotated[_with_sections(hint.__origin__), *hint.__metadata__]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return functools.reduce(operator.or_, map(_with_sections, get_args(hint)))
    return hint


def any_of(registry: Mapping[str, type]) -> Any:
    """A section for every type of a registry, told apart by ``type``."""
    sections = [
        from_dataclass(cls.__name__, cls, type=(Literal[name], ...))
        for name, cls in registry.items()
    ]
    return Annotated[functools.reduce(operator.or_, sections), Field(discriminator="type")]
