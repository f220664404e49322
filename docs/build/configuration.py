"""Generate the reference of ``params.yaml`` from its schema and the project's own file."""

import html
import inspect
import json
import typing
from pathlib import Path
from typing import Any

import griffe
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from lh2face.data.benchmarks import BENCHMARKS
from lh2face.data.training_sources import TRAINING_SOURCES
from lh2face.params import Params
from lh2face.params.messages import types_of, without_none

PARAMS = Path(__file__).parents[2] / "params.yaml"
# Sections whose keys are names of the user's choice; each value has a type.
REGISTRIES: dict[str, dict[str, type]] = {"sources": TRAINING_SOURCES, "benchmarks": BENCHMARKS}
BOUNDS = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
}  # fmt: skip
NAMES = {"object": "mapping", "array": "list", "null": "null"}


def tables(_: str) -> str:
    """Return a heading and a table for every section."""
    values = YAML(typ="safe").load(PARAMS)
    return "\n".join(_section("", Params, values))


def _section(key: str, section: type[BaseModel], values: dict[str, Any]) -> list[str]:
    below: list[str] = []
    for name, field in section.model_fields.items():
        path = f"{key}.{name}".lstrip(".")
        if _is_section(field.annotation):
            below += _section(path, field.annotation, values.get(name, {}))
        elif path in REGISTRIES:
            below += _types(path, types_of(typing.get_args(field.annotation)[1]))
    head = [
        f"\n## {key or 'Top level'}\n",
        "| key | meaning | allowed | value |",
        "|---|---|---|---|",
    ]
    return [*head, *_rows(key, section, meanings(section), values), *below]


def _types(key: str, sections: dict[str, type[BaseModel]]) -> list[str]:
    """A heading and a table for every type that a source or a benchmark can have."""
    lines = []
    for name, section in sections.items():
        cls = REGISTRIES[key][name]
        lines += [
            f"\n### {key}, type {name}\n",
            inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[0].strip(),
            "\n| key | meaning | allowed | value |",
            "|---|---|---|---|",
            *_rows(f"{key}.NAME", section, meanings(cls), {}),
        ]
    return lines


def _rows(
    key: str, section: type[BaseModel], means: dict[str, str], values: dict[str, Any]
) -> list[str]:
    rows, schema = [], section.model_json_schema()
    for name, field in section.model_fields.items():
        if _is_section(field.annotation) or name == "type":
            continue  # a section has its own table, and a type is shown above its table
        path = f"{key}.{name}".lstrip(".")
        kind = describe(schema["properties"][name], schema.get("$defs", {}))
        value = _code(values[name]) if name in values else _default(field)
        rows.append(f"| `{path}` | {means[name]} | {kind} | {value} |")
        if _is_section(inner := without_none(field.annotation)):
            rows += _rows(path, inner, meanings(inner), {})
        for kind in types_of(inner).values():
            rows += _rows(path, kind, meanings(kind), {})
    return list(dict.fromkeys(rows))


def _default(field: FieldInfo) -> str:
    return "needed" if field.is_required() else f"{_code(field.default)} (default)"


def _is_section(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, BaseModel)


def meanings(section: type) -> dict[str, str]:
    """Return the description of each key from the docstrings of a class and its bases."""
    return {
        attribute.name: " ".join(attribute.description.split())
        for cls in reversed(section.__mro__)
        for part in griffe.Docstring(inspect.cleandoc(cls.__doc__ or "")).parse("google")
        if part.kind is griffe.DocstringSectionKind.attributes
        for attribute in part.value
    }


def describe(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "anyOf" in schema:
        return " or ".join(describe(option, defs) for option in schema["anyOf"])
    if "$ref" in schema:
        return describe(defs[schema["$ref"].rpartition("/")[2]], defs)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "discriminator" in schema:
        return "mapping of `type` " + " or ".join(
            map("`{}`".format, schema["discriminator"]["mapping"])
        )
    kind = NAMES.get(schema["type"], schema["type"])
    bounds = [text.format(schema[key]) for key, text in BOUNDS.items() if key in schema]
    items = schema.get("items")
    of = f" of {describe(items, defs)}" if items else ""
    return ", ".join([kind + of, *bounds])


def _code(value: Any) -> str:
    """Return a value as short YAML; lines may break after commas."""
    if isinstance(value, dict) and all(isinstance(each, dict) for each in value.values()):
        return ", ".join(f"`{key}`" for key in value)
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {_scalar(each)}" for key, each in value.items()) + "}"
    else:
        text = _scalar(value)
    return f"<code>{html.escape(text)}</code>"


def _scalar(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)
