"""The batch sampler, which decides which images form each batch."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dist import get_world_size
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Compute the number of whole batches in an epoch.

    Args:
        images: Number of images of the data set.
        batch_size: Number of images in a batch, of all processes together.

    Raises:
        ValueError: If the batch cannot be divided evenly over the processes, or is larger than the
            data set.
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
    """Split batches of a fixed global size evenly over the processes.

    With a global batch size of B, an epoch of N images has N // B steps and each step uses the same
    images, whatever the number of processes. The last N % B images of an epoch are not used.

    mmengine builds it from the config's ``train_dataloader.batch_sampler``.

    Args:
        sampler: A sampler like mmengine's ``DefaultSampler``. It has an attribute ``dataset``. With
            W processes, it gives process r the images r, r + W, r + 2W … of one shared order.
        batch_size: Global batch size B, a multiple of the number of processes.

    Raises:
        ValueError: If the number of processes does not divide the batch size, or if the data set
            has fewer images than one batch.

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
        """Let later iterations leave out this many batches at the start, without reading images."""
        self.skipped = batches

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this process's share of each batch: a list of B / W image indices."""
        first, end = self.skipped * self.batch_size, self.steps * self.batch_size
        part = islice(self.sampler, first, end)
        return iter(BatchSampler(part, self.batch_size, drop_last=True))

    def __len__(self) -> int:
        """Return the number of steps in a whole epoch, even if batches are skipped."""
        return self.steps
