"""Stand-in for easydict: mmengine's dictionary with attributes."""

from mmengine.config import ConfigDict as EasyDict

__all__ = ["EasyDict"]
