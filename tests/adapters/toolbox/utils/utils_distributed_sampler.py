"""Stand-in for seeds and the distributed sampler, which use CUDA tensors."""

import random

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler as _DistributedSampler


def setup_seed(seed, cuda_deterministic=True):
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)
    random.seed(seed)


def worker_init_fn(worker_id, num_workers, rank, seed):
    torch.manual_seed(num_workers * rank + worker_id + seed)


def get_dist_info():
    return dist.get_rank(), dist.get_world_size()


def sync_random_seed(seed=None, device="cuda"):
    rank, world_size = get_dist_info()
    if world_size == 1:
        return seed
    random_num = torch.tensor(seed if rank == 0 else 0, dtype=torch.int32, device=device)
    dist.broadcast(random_num, src=0)
    return random_num.item()


class DistributedSampler(_DistributedSampler):
    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0):
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle)
        self.seed = sync_random_seed(seed)
