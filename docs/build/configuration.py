"""The reference of ``params.yaml`` out of its schema and the project's own file."""

import html
import inspect
import json
from pathlib import Path
from typing import Any

import griffe
from pydantic import BaseModel
from ruamel.yaml import YAML

from lh2face.stages.params import Params

PARAMS = Path(__file__).parents[2] / "params.yaml"
BOUNDS = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
}  # fmt: skip
NAMES = {"object": "mapping", "array": "list", "null": "null"}


def tables(_: str) -> str:
    """A heading and a table for every section."""
    values = YAML(typ="safe").load(PARAMS)
    return "\n".join(_section("", Params, values))


def _section(key: str, section: type[BaseModel], values: dict[str, Any]) -> list[str]:
    rows, below = [], []
    schema = section.model_json_schema()
    means = meanings(section)
    for name, field in section.model_fields.items():
        path = f"{key}.{name}".lstrip(".")
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            below += _section(path, field.annotation, values.get(name, {}))
        else:
            kind = describe(schema["properties"][name], schema.get("$defs", {}))
            value = _code(values[name]) if name in values else f"{_code(field.default)} (default)"
            rows.append(f"| `{path}` | {means[name]} | {kind} | {value} |")
    head = [
        f"\n## {key or 'Top level'}\n",
        "| key | meaning | allowed | value |",
        "|---|---|---|---|",
    ]
    return [*head, *rows, *below]


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a section and its bases say of each key."""
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
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = NAMES.get(schema["type"], schema["type"])
    bounds = [text.format(schema[key]) for key, text in BOUNDS.items() if key in schema]
    items = schema.get("items")
    of = f" of {describe(items, defs)}" if items else ""
    return ", ".join([kind + of, *bounds])


def _code(value: Any) -> str:
    """A value as YAML writes it, short; breaks allowed after commas."""
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
