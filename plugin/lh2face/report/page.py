"""Rendering of the page from a template, with style sheet, script and Plotly inside."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs


def rendered(**values: Any) -> str:
    """Render the page as HTML.

    Args:
        values: The variables of ``templates/index.html.j2``, except ``plotly``.

    Raises:
        jinja2.UndefinedError: If a variable is missing.
    """
    environment = Environment(
        loader=PackageLoader("lh2face.report"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("index.html.j2").render(plotly=get_plotlyjs(), **values)
