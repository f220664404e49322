"""Convert references of Sphinx in docstrings to links of mkdocs."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|attr):`([\w.]+)`")
# The reference is not linked if the other object is on no page.
LINK = '<autoref optional identifier="{path}"><code>{name}</code></autoref>'


class Roles(griffe.Extension):
    """Turns ``:class:`Name` `` into a link; the name is resolved in the module of the docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a class, function or module."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(lambda role: link(obj, role[1]), obj.docstring.value)


def link(obj: griffe.Object, name: str) -> str:
    """Return a link to ``name``, resolved from ``obj``."""
    try:
        path = obj.resolve(name)
    except griffe.NameResolutionError:
        path = name
    return LINK.format(path=path, name=name.rpartition(".")[2])
