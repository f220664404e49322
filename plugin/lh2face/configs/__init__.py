"""mmengine configs.

``Config.fromfile(RECOGNITION)`` gives one to change; a config file can name its path in ``_base_``.
"""

from pathlib import Path

RECOGNITION = Path(__file__).with_name("recognition.py")

__all__ = ["RECOGNITION"]
