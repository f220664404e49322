"""Markdown tables of the studies' pages."""

import json
from typing import Any

from lh2face.text import markdown_code


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def arguments(config: dict[str, Any]) -> str:
    """A head's arguments."""
    return changes({key: value for key, value in config.items() if key != "type"}) or "defaults"


def changes(values: dict[str, Any]) -> str:
    """``key: value`` each, as in YAML."""
    shown = (f"{key}: {json.dumps(value)}" for key, value in values.items())
    return ", ".join(map(cell_code, shown))


def cell_code(text: str) -> str:
    """A text as code in a cell of a table, which a bar would end, in code too."""
    return markdown_code(text).replace("|", "\\|")
