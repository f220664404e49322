"""Run a script where torchvision is a build for another torch.

    python run.py SCRIPT ARGUMENTS…

Runs in the environment of ``requirements.txt``. torchvision imports there once the operators it
asks for are declared, which nothing here calls.
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
