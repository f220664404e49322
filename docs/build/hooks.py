"""What mkdocs puts into the pages when it builds them: figures, tables, the version."""

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
    """The pages say which version they are of."""
    config.copyright = f"lh2face {version('lh2face')}, Apache-2.0"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what the code makes in the place of ``<!-- figure: NAME -->`` and the like."""
    return MARK.sub(lambda mark: DRAW[mark[1]](mark[2]), markdown)
