"""Markdown tables of the studies' pages."""

import json
from typing import Any

from lh2face.text import markdown_code


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table from its header and the cells of its rows."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def arguments(config: dict[str, Any]) -> str:
    """Write the arguments in a head's config as text; "defaults" if there are none."""
    return changes({key: value for key, value in config.items() if key != "type"}) or "defaults"


def changes(values: dict[str, Any]) -> str:
    """Write values as ``key: value`` in code, separated by commas."""
    shown = (f"{key}: {json.dumps(value)}" for key, value in values.items())
    return ", ".join(map(cell_code, shown))


def cell_code(text: str) -> str:
    """Write a text as code in a table cell; a bar is escaped, because it would end the cell."""
    return markdown_code(text).replace("|", "\\|")
