"""Which training images make a batch, and in which order."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dist import get_world_size
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler


def steps_per_epoch(images: int, batch_size: int) -> int:
    """How many whole batches there are in an epoch.

    Args:
        images: Of the data set.
        batch_size: Images in a batch, of all processes together.

    Raises:
        ValueError: If the processes do not divide the batch, or there are fewer images than one.
    """
    processes = get_world_size()
    if batch_size % processes:
        raise ValueError(
            f"train_dataloader.batch_size: {batch_size} images cannot be divided evenly over "
            f"{processes} processes"
        )
    if batch_size > images:
        raise ValueError(
            f"train_dataloader.batch_size: {batch_size} is more than the {images} images"
        )
    return images // batch_size


@DATA_SAMPLERS.register_module()
class EvenBatchSampler(Sampler[list[int]]):
    """Batches whose size is that of all processes together, each process's part of them.

    With batches of B images, an epoch of N images has N // B steps with any number of processes,
    and each step has the same images. What is left at the end of an epoch is left out.

    mmengine builds it where a config has ``train_dataloader.batch_sampler``.

    Args:
        sampler: A sampler like mmengine's ``DefaultSampler``: it has the ``dataset``, and of W
            processes the r-th gets the images r, r + W, r + 2W … of an order that all share.
        batch_size: B, a multiple of the number of processes.

    Raises:
        ValueError: If the processes do not divide the batch, or there are fewer images than one.

    Example:
        ``train_dataloader = dict(batch_size=512, sampler=dict(type="DefaultSampler"),
        batch_sampler=dict(type="EvenBatchSampler"), ...)``
    """

    def __init__(self, sampler: Any, batch_size: int) -> None:
        self.steps = steps_per_epoch(len(sampler.dataset), batch_size)
        self.sampler = sampler
        self.batch_size = batch_size // get_world_size()
        self.skipped = 0

    def skip(self, batches: int) -> None:
        """Begin after so many batches, whose images are then not read, until told otherwise."""
        self.skipped = batches

    def __iter__(self) -> Iterator[list[int]]:
        """This process's part of each batch: B / W numbers of images."""
        first, end = self.skipped * self.batch_size, self.steps * self.batch_size
        part = islice(self.sampler, first, end)
        return iter(BatchSampler(part, self.batch_size, drop_last=True))

    def __len__(self) -> int:
        """Steps of a whole epoch."""
        return self.steps
