"""mmengine configs: for the project's own recognizer, for a reconstructor, and for mmpretrain.

``Config.fromfile(RECOGNITION)`` gives one to change; a config file can name its path in ``_base_``.
"""

from pathlib import Path

RECOGNITION = Path(__file__).with_name("recognition.py")
RECONSTRUCTION = Path(__file__).with_name("reconstruction.py")
MMPRETRAIN = Path(__file__).with_name("mmpretrain.py")

__all__ = ["MMPRETRAIN", "RECOGNITION", "RECONSTRUCTION"]
