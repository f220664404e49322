"""Run a script where torchvision is a build for another torch.

    python run.py SCRIPT ARGUMENTS…

It runs in the environment of ``requirements.txt``. There torchvision imports only after the
operators that it asks for are declared. Nothing here calls these operators.
"""

import re
import runpy
import sys
from pathlib import Path

import torch

library = torch.library.Library("torchvision", "DEF")
while True:
    try:
        import torchvision  # noqa: F401

        break
    except RuntimeError as error:
        missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
        if not missing:
            raise
        library.define(f"{missing[1]}(Tensor a) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]

del sys.argv[0]
sys.path[0] = str(Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name="__main__")
