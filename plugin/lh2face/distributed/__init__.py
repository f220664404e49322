"""Training with the classes divided over processes: head, proxies, clipping and checkpoints."""

from lh2face.distributed.head import ShardedHead
from lh2face.distributed.proxies import ShardedProxies

__all__ = ["ShardedHead", "ShardedProxies"]
