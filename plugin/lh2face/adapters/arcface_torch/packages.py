"""Packages that arcface_torch imports: the installed one if it works, or else a stand-in.

For example, mxnet 1.9.1 (the latest on PyPI) cannot be imported with numpy 2, and a torchvision
that was built for another torch cannot be imported either.
"""

import sys
from importlib import import_module
from pathlib import Path

STAND_INS = Path(__file__).with_name("stand_ins")
NAMES = ("easydict", "mxnet", "torchvision")


def problem(name: str) -> Exception | None:
    """Try to import a package; return the error, or ``None`` if it works."""
    try:
        import_module(name)
    except Exception as error:  # a package built for other versions may raise anything
        for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
            del sys.modules[loaded]
        return error
    return None


def supply() -> None:
    """Import each package that arcface_torch needs, or our stand-in if the import fails."""
    for name in NAMES:
        if problem(name):
            sys.path.insert(0, str(STAND_INS))
            try:
                import_module(name)
            finally:
                sys.path.remove(str(STAND_INS))
