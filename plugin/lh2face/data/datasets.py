"""Data sets for training, in mmengine's registry."""

import math
import mmap
import multiprocessing
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lh2face.data.images import decode_rgb
from lh2face.data.recordio import RecordError, RecordReader, identity, record_layout
from lh2face.registry import DATASETS

# Decoded images are kept while they fit in this much memory, shared by all epochs.
CACHE_BYTES = 1 << 30
# Up to this size of a record file all labels are looked at before training; of a greater one at
# The most bytes of a file of three numbers.
PROPERTY = 100
# their first use, because each header is a page to read: about 20 GB for 5 million images.
SCANNED_BYTES = 4 << 30


@DATASETS.register_module()
class RecordFaces(Dataset):
    """Aligned faces of a record file: ``dict(inputs (3, S, S) uint8 RGB, label int)``.

    Args:
        root: Folder with ``train.rec``; with ``train.idx``, or keys count from 0 in the file's
            order; with ``property``, or the greatest label says how many identities there are.
        image_size: Side S of the images given, px.
        mirror: Probability of a left-right mirror, by torch's generator of the process.

    Attributes:
        layout: What the file was found to hold.
        num_classes: Number of identities.

    Raises:
        RecordError: If a record cannot be read, or its label is no identity.
        ImageError: If its image cannot be decoded.
    """

    def __init__(self, root: str, image_size: int = 112, mirror: float = 0.5) -> None:
        self.reader = RecordReader(Path(root) / "train.rec")
        self.layout = record_layout(self.reader)
        self.keys = self.layout.images
        if not len(self.keys):
            raise RecordError(f"{self.reader.path}: no images in it")
        self.image_size = image_size
        self.mirror = mirror
        self.num_classes = self._count_classes(Path(root) / "property")
        shape = (len(self.keys), 3, image_size, image_size)
        self._cache = ImageCache(shape) if math.prod(shape) <= CACHE_BYTES else None

    def _count_classes(self, path: Path) -> int:
        if not path.exists():
            return int(self.reader.identities(self.keys).max()) + 1
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(PROPERTY).strip()
        classes = text.split(",")[0].strip()
        long = path.stat().st_size > PROPERTY
        if long or not (re.fullmatch(r"[0-9]{1,9}", classes) and int(classes)):
            raise RecordError(
                f"{path}: expected classes,height,width in whole numbers, found {text[:60]!r}"
            )
        if len(self.layout.identities) not in (0, int(classes)):
            raise RecordError(
                f"{path}: {classes} classes, but {self.reader.path} has {self.layout}"
            )
        if self.reader.path.stat().st_size <= SCANNED_BYTES:
            labels = self.reader.identities(self.keys)
            if labels.max() >= int(classes):
                row = int(np.flatnonzero(labels >= int(classes))[0])
                self._check_label(int(labels[row]), self.keys[row], int(classes))
        return int(classes)

    def _check_label(self, label: int, key: int, classes: int) -> None:
        if label >= classes:
            raise RecordError(
                f"{self.reader.path}: key {key}: label {label}: property has {classes} classes, "
                f"0 … {classes - 1}"
            )

    def _decode(self, index: int) -> tuple[Tensor, int]:
        key = self.keys[index]
        source = f"{self.reader.path}: key {key}"
        header, encoded = self.reader[key]
        label = identity(header, source)
        self._check_label(label, key, self.num_classes)
        pixels = decode_rgb(encoded, self.image_size, source)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), label

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        found = self._cache.get(index) if self._cache else None
        image, label = found or self._decode(index)
        if self._cache and not found:
            self._cache.put(index, image, label)
        if self.mirror and torch.rand(()) < self.mirror:
            image = image.flip(2)
        return {"inputs": image, "label": label}


class ImageCache:
    """Images and labels in memory that a process shares with those it forks, such as a loader's
    workers.

    What one of them puts there, all of them get, in later epochs too. Pages are taken as they are
    filled. A process that is started in another way begins with an empty cache of its own.

    Args:
        shape: ``(N, C, H, W)``.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        # Anonymous: /dev/shm is often too small, and writing beyond its end kills a process.
        images, labels = mmap.mmap(-1, math.prod(shape)), mmap.mmap(-1, 8 * shape[0])
        self._images = torch.frombuffer(images, dtype=torch.uint8).view(shape)
        # Label + 1; 0 where the image is not known.
        self._labels = memoryview(labels).cast("q")
        # Also a memory barrier: who sees the label of an image sees all of its pixels.
        self._lock = multiprocessing.Lock()

    def get(self, index: int) -> tuple[Tensor, int] | None:
        """A copy of an image, and its label, if any process put them there."""
        with self._lock:
            label = self._labels[index]
        return (self._images[index].clone(), label - 1) if label else None

    def put(self, index: int, image: Tensor, label: int) -> None:
        """Keep an image and its label, ≥ 0, for all processes."""
        self._images[index] = image
        with self._lock:
            self._labels[index] = label + 1

    def __reduce__(self) -> tuple[type["ImageCache"], tuple[tuple[int, ...]]]:
        return ImageCache, (self.shape,)
