"""Stand-in that reads records with mxnet and torchvision, and batches with CUDA streams."""

import numbers
from functools import partial
from pathlib import Path

import mxnet as mx
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from utils.utils_distributed_sampler import DistributedSampler, get_dist_info, worker_init_fn


def get_dataloader(
    root_dir, local_rank, batch_size, dali=False, dali_aug=False, seed=2048, num_workers=2
):
    if (Path(root_dir) / "train.rec").exists():
        train_set = MXFaceDataset(root_dir=root_dir, local_rank=local_rank)
    else:
        train_set = ImageFolder(root_dir, transforms.Compose([transforms.ToTensor()]))
    rank, world_size = get_dist_info()
    return DataLoaderX(
        local_rank=local_rank,
        dataset=train_set,
        batch_size=batch_size,
        sampler=DistributedSampler(
            train_set, num_replicas=world_size, rank=rank, shuffle=True, seed=seed
        ),
        num_workers=num_workers,
        pin_memory=True,
        drop_last=True,
        worker_init_fn=partial(worker_init_fn, num_workers=num_workers, rank=rank, seed=seed),
    )


class DataLoaderX(DataLoader):
    def __init__(self, local_rank, **kwargs):
        super(DataLoaderX, self).__init__(**kwargs)  # noqa: UP008
        self.stream = torch.cuda.Stream(local_rank)
        self.local_rank = local_rank

    def __iter__(self):
        for batch in super().__iter__():
            yield [part.to(device=self.local_rank, non_blocking=True) for part in batch]


class MXFaceDataset(Dataset):
    def __init__(self, root_dir, local_rank):
        super().__init__()
        half = [0.5, 0.5, 0.5]
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean=half, std=half),
            ]
        )
        rec, idx = (str(Path(root_dir) / name) for name in ("train.rec", "train.idx"))
        self.imgrec = mx.recordio.MXIndexedRecordIO(idx, rec, "r")
        header, _ = mx.recordio.unpack(self.imgrec.read_idx(0))
        if header.flag > 0:
            self.imgidx = np.array(range(1, int(header.label[0])))
        else:
            self.imgidx = np.array(list(self.imgrec.keys))

    def __getitem__(self, index):
        header, img = mx.recordio.unpack(self.imgrec.read_idx(self.imgidx[index]))
        label = header.label
        if not isinstance(label, numbers.Number):
            label = label[0]
        label = torch.tensor(label, dtype=torch.long)
        return self.transform(mx.image.imdecode(img).asnumpy()), label

    def __len__(self):
        return len(self.imgidx)
