"""Docstrings name other objects as Sphinx does; this links them as mkdocs does."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|attr):`([\w.]+)`")
# Unlinked where the other object is on no page.
LINK = '<autoref optional identifier="{path}"><code>{name}</code></autoref>'


class Roles(griffe.Extension):
    """Turns ``:class:`Name` `` into a link, its name resolved where the docstring stands."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a class, function or module."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(lambda role: link(obj, role[1]), obj.docstring.value)


def link(obj: griffe.Object, name: str) -> str:
    """A reference to ``name`` as seen from ``obj``."""
    try:
        path = obj.resolve(name)
    except griffe.NameResolutionError:
        path = name
    return LINK.format(path=path, name=name.rpartition(".")[2])
