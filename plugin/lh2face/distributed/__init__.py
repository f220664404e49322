"""Classes divided over processes: the head, its proxies, clipping and checkpoints."""

from lh2face.distributed.head import ShardedHead
from lh2face.distributed.proxies import ShardedProxies

__all__ = ["ShardedHead", "ShardedProxies"]
