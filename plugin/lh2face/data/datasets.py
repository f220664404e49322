"""Data sets for training, in mmengine's registry."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from lh2face.data.images import decode_rgb
from lh2face.data.recordio import RecordError, RecordReader, identity, image_keys
from lh2face.registry import DATASETS

# Decoded images are kept while they fit in this much memory, shared by all epochs.
CACHE_BYTES = 1 << 30


@DATASETS.register_module()
class RecordFaces(Dataset):
    """Aligned faces of a record file: ``dict(inputs (3, S, S) uint8 RGB, label int)``.

    Args:
        root: Folder with ``train.rec`` and ``train.idx``.
        image_size: Side S of the images given, px.
        mirror: Probability of a left-right mirror, by torch's generator of the process.

    Attributes:
        num_classes: Number of identities.

    Raises:
        RecordError: If a record cannot be read.
        ImageError: If its image cannot be decoded.
    """

    def __init__(self, root: str, image_size: int = 112, mirror: float = 0.5) -> None:
        self.reader = RecordReader(Path(root) / "train.rec")
        self.keys = image_keys(self.reader)
        if not self.keys:
            raise RecordError(f"{self.reader.path}: no images in it")
        self.image_size = image_size
        self.mirror = mirror
        self.num_classes = self._count_classes(Path(root) / "property")
        fits = len(self.keys) * 3 * image_size**2 <= CACHE_BYTES
        self._cache: dict[int, torch.Tensor] | None = {} if fits else None

    def _count_classes(self, path: Path) -> int:
        text = path.read_text().strip()
        try:
            return int(text.split(",")[0])
        except ValueError:
            raise RecordError(
                f"{path}: expected classes,height,width in whole numbers, found {text!r}"
            ) from None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        key = self.keys[index]
        header, encoded = self.reader[key]
        image = self._cache.get(key) if self._cache is not None else None
        if image is None:
            pixels = decode_rgb(encoded, self.image_size, f"{self.reader.path}: key {key}")
            image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
            if self._cache is not None:
                self._cache[key] = image
        if self.mirror and torch.rand(()) < self.mirror:
            image = image.flip(2)
        return {"inputs": image, "label": identity(header)}
