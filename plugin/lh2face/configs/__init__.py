"""mmengine configs: for the project's own recognizer, for a reconstructor, and for mmpretrain.

``Config.fromfile(RECOGNITION)`` reads one, which can then be changed. A config file inherits from
one if its ``_base_`` is that path.
"""

from pathlib import Path

RECOGNITION = Path(__file__).with_name("recognition.py")
RECONSTRUCTION = Path(__file__).with_name("reconstruction.py")
MMPRETRAIN = Path(__file__).with_name("mmpretrain.py")

__all__ = ["MMPRETRAIN", "RECOGNITION", "RECONSTRUCTION"]
