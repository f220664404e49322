"""The registries everything here registers in: mmengine's roots.

A name in a root registry resolves under any toolbox's ``default_scope``, because look-up climbs
from the toolbox's own registry to its parent; a sibling's name would need a prefix.
"""

from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS

__all__ = ["DATASETS", "HOOKS", "METRICS", "MODELS", "TRANSFORMS"]
