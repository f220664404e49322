"""What the toolbox imports of others: the installed package where it works, a stand-in elsewhere.

mxnet 1.9.1, which pip gives, does not import beside numpy 2; a torchvision built for another torch
does not either.
"""

import sys
from importlib import import_module
from pathlib import Path

STAND_INS = Path(__file__).with_name("stand_ins")
NAMES = ("easydict", "mxnet", "torchvision")


def problem(name: str) -> Exception | None:
    """Why an installed package cannot be imported, or that it is missing; ``None`` if it works."""
    try:
        import_module(name)
    except Exception as error:  # built for other versions, it raises almost anything
        for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
            del sys.modules[loaded]
        return error
    return None


def supply() -> None:
    """Import each package that the toolbox needs, our stand-in where the real one fails."""
    for name in NAMES:
        if problem(name):
            sys.path.insert(0, str(STAND_INS))
            try:
                import_module(name)
            finally:
                sys.path.remove(str(STAND_INS))
