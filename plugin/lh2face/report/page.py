"""The page itself: a template of this package, with style sheet, script and plotly in it."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs


def rendered(**values: Any) -> str:
    """The page as HTML.

    Args:
        values: What ``templates/index.html.j2`` names, but for ``plotly``.

    Raises:
        jinja2.UndefinedError: If one of them is missing.
    """
    environment = Environment(
        loader=PackageLoader("lh2face.report"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("index.html.j2").render(plotly=get_plotlyjs(), **values)
