"""Steps have the same images for any number of processes; skipped batches are not read."""

import itertools

import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch.utils.data import Dataset

from lh2face.training import EvenBatchSampler


class Numbers(Dataset):
    """Images are their own numbers; records which ones were read."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index


def batches(size: int, batch: int, rank: int = 0, processes: int = 1) -> EvenBatchSampler:
    """Return the sampler of one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: (rank, processes))
        patch.setattr("lh2face.training.batches.get_world_size", lambda: processes)
        return EvenBatchSampler(DefaultSampler(Numbers(size), seed=3), batch)


@pytest.mark.parametrize("size", [30, 31, 35, 6])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_steps_have_the_same_images_for_any_number_of_processes(size, processes):
    samplers = [batches(size, 6, rank, processes) for rank in range(processes)]
    parts = [list(sampler) for sampler in samplers]
    assert {len(sampler) for sampler in samplers} == {len(part) for part in parts} == {size // 6}
    assert {len(batch) for part in parts for batch in part} == {6 // processes}
    order = torch.randperm(size, generator=torch.Generator().manual_seed(3)).tolist()
    expected = [set(order[i : i + 6]) for i in range(0, size // 6 * 6, 6)]
    assert [set().union(*step) for step in zip(*parts, strict=True)] == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_skipped_batches_are_not_read(workers):
    sampler = batches(31, 6)
    loader = torch.utils.data.DataLoader(
        sampler.sampler.dataset,
        batch_sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    whole = [batch.tolist() for batch in loader]
    sampler.sampler.dataset.read.clear()
    sampler.skip(3)
    assert [batch.tolist() for batch in loader] == whole[3:]
    assert sampler.sampler.dataset.read == ([] if workers else [*itertools.chain(*whole[3:])])
    sampler.skip(0)
    assert [batch.tolist() for batch in loader] == whole
    assert len(loader) == 5


@pytest.mark.parametrize(
    ("size", "batch", "processes", "message"),
    [
        (100, 64, 3, "64 images cannot be divided evenly over 3 processes"),
        (63, 64, 1, "64 is more than the 63 images"),
        (0, 64, 1, "64 is more than the 0 images"),
    ],
)
def test_impossible_batch_sizes_are_named(size, batch, processes, message):
    with pytest.raises(ValueError, match=rf"^train_dataloader\.batch_size: {message}$"):
        batches(size, batch, 0, processes)
