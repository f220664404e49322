"""The order of the training images."""

from collections.abc import Sized

from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EvenSampler(DefaultSampler):
    """mmengine's ``DefaultSampler``, which here leaves out what the processes cannot divide.

    ``DefaultSampler`` shows some images twice in an epoch instead. With batches of B images in all,
    an epoch of N images has N // B steps with any number of processes, and each step has the same
    images.

    Args:
        dataset: What to draw from.
        shuffle: Whether each epoch has an order of its own.
        seed: Seed of the order, the same in every process; the run's, where mmengine builds it.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle, seed, round_up=False)
        self.num_samples = len(dataset) // self.world_size
        self.total_size = self.num_samples * self.world_size
