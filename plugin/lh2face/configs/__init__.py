"""mmengine configs: one for the project's own recognizer, one for mmpretrain's.

``Config.fromfile(RECOGNITION)`` gives one to change; a config file can name its path in ``_base_``.
"""

from pathlib import Path

RECOGNITION = Path(__file__).with_name("recognition.py")
MMPRETRAIN = Path(__file__).with_name("mmpretrain.py")

__all__ = ["MMPRETRAIN", "RECOGNITION"]
