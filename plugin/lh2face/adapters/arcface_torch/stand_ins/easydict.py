"""easydict: mmengine's dict with attributes."""

from mmengine.config import ConfigDict as EasyDict

__all__ = ["EasyDict"]
