"""Hooks of mkdocs, which put figures, tables and the version into the pages."""

import re
from importlib.metadata import version
from typing import Any

import configuration
import figures

MARK = re.compile(r"^<!-- (figure|configuration): (\w+) -->$", re.MULTILINE)
DRAW = {
    "figure": lambda name: figures.FIGURES[name](),
    "configuration": configuration.tables,
}


def on_config(config: Any) -> None:
    """Show the version of the package on the pages."""
    config.copyright = f"lh2face {version('lh2face')}, Apache-2.0"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace ``<!-- figure: NAME -->`` and similar marks by generated figures and tables."""
    return MARK.sub(lambda mark: DRAW[mark[1]](mark[2]), markdown)
