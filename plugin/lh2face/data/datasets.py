"""Data sets for training, registered in mmengine's registry."""

import math
import mmap
import multiprocessing
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from torch.utils.data import Dataset

from lh2face.data.align import ALIGNED_LANDMARKS
from lh2face.data.draws import Draws
from lh2face.data.images import decode_rgb
from lh2face.data.manifest import (
    MANIFEST,
    ManifestError,
    face_folders,
    read_manifest,
    records_of,
)
from lh2face.data.recordio import identity
from lh2face.data.records import (
    check_labels,
    count_classes,
    open_records,
    read_property,
)
from lh2face.files.arrays import read_array
from lh2face.registry import DATASETS

# Decoded images are cached if all of them together take no more memory than this.
CACHE_BYTES = 1 << 30
# In a record file up to this size, all labels are checked before training. In a larger one, each
# label is checked when it is used: reading 5 million headers means reading about 20 GB of pages.
SCANNED_BYTES = 4 << 30


class MissingLandmarksError(ManifestError):
    """Landmarks are not known, because stage ``align`` did not align the faces."""


@DATASETS.register_module()
class RecordFaces(Dataset[dict[str, Any]]):
    """Data set of aligned faces from record files.

    An item is ``dict(inputs (3, S, S) uint8 RGB, label int)``, and ``landmarks (5, 2) float32`` if
    ``landmarks`` is set.

    Several sources are concatenated. They are assumed to have no person in common, so the labels of
    each source are shifted by the number of identities of all sources before it.

    Args:
        root: A folder with ``train.rec``; or one with a ``manifest.json`` that says where the
            records are; or one with several folders that have a manifest, which are sorted by name.
            Without ``train.idx`` the records are numbered from 0 in the order of the file. Without
            ``property`` the number of identities is that of the manifest or the greatest label + 1.
        image_size: Side S of the images in pixels.
        pipeline: Configs of transforms to apply to the decoded images, in this order, such as
            ``[dict(type="RandomMirror")]``; see :mod:`lh2face.augmentation`. Their random draws
            depend only on the run's seed, the epoch, and the index of the image (see
            :meth:`set_epoch`).
        names: Names of the folders in ``root`` to use; ``None`` for all.
        landmarks: Whether items also have ``landmarks``, the five landmarks of each face in px of a
            crop of 112 × 112. Only faces that stage ``align`` aligned have them. The pipeline gets
            them too.

    Attributes:
        sources: The sources, in order.
        num_classes: Number of identities of all sources together.

    Raises:
        ManifestError: If there is no such folder, a manifest cannot be used, or it contradicts the
            records.
        RecordError: If a record cannot be read, or its label is out of range.
        ImageError: If an image cannot be decoded.
        ValueError: If the pipeline returns anything other than ``(S, S, 3)`` uint8.

    Example:
        ``dataset=dict(type="RecordFaces", root="data/train", pipeline=[dict(type="RandomMirror"),
        dict(type="RandomCrop", probability=0.2)])``
    """

    def __init__(
        self,
        root: str,
        image_size: int = 112,
        pipeline: list[dict[str, Any]] | None = None,
        names: list[str] | None = None,
        landmarks: bool = False,
    ) -> None:
        self.sources = [FaceSource(folder) for folder in face_folders(Path(root), names)]
        self._landmarks = (
            np.concatenate([source.read_landmarks() for source in self.sources])
            if landmarks
            else None
        )
        # First index and first label of each source; the last entry is the total.
        self._starts = list(accumulate((len(s.keys) for s in self.sources), initial=0))
        self._offsets = list(accumulate((s.num_classes for s in self.sources), initial=0))
        self.num_classes = self._offsets[-1]
        self.image_size = image_size
        self.pipeline = Compose(pipeline)
        self._draws = Draws()
        # Shared memory, so that persistent workers see the new epoch, however they were started.
        self._seed_and_epoch = torch.zeros(2, dtype=torch.int64, device="cpu")
        self._seed_and_epoch.share_memory_()  # type: ignore[no-untyped-call]  # PyTorch's gap
        self._shape = (image_size, image_size, 3)
        shape = (len(self), *self._shape)
        self._cache = ImageCache(shape) if math.prod(shape) <= CACHE_BYTES else None

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Set the seed of augmentation, in this process and in the workers of its loaders.

        The augmentation of an image then does not depend on the number of workers, the order of the
        images, or the step at which a run resumed. Before the first call both numbers are 0.

        Args:
            seed: Seed of the run, ≥ 0.
            epoch: Number of the epoch, from 0.
        """
        self._seed_and_epoch.copy_(torch.tensor([seed, epoch]))

    def _decode(self, index: int) -> tuple[np.ndarray, int]:
        number = bisect_right(self._starts, index) - 1
        pixels, label = self.sources[number].decode(index - self._starts[number], self.image_size)
        return pixels, self._offsets[number] + label

    def _augment(self, face: dict[str, Any], index: int) -> dict[str, Any]:
        seed, epoch = self._seed_and_epoch.tolist()
        rng = self._draws.of(seed, epoch, index)
        face = self.pipeline({**face, "rng": rng})
        pixels = face["img"]
        if pixels.shape != self._shape or pixels.dtype != np.uint8:
            raise ValueError(
                f"pipeline: expected it to keep the images uint8 of shape {self._shape}, found "
                f"{pixels.dtype} of shape {pixels.shape}"
            )
        return face

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        found = self._cache.get(index) if self._cache else None
        pixels, label = found or self._decode(index)
        if self._cache and not found:
            self._cache.put(index, pixels, label)
        face: dict[str, Any] = {"img": pixels}
        if self._landmarks is not None:
            face["landmarks"] = self._landmarks[index]
        if self.pipeline.transforms:
            face = self._augment(face, index)
        # Only a view: collating copies it anyway, and transposing a whole batch is cheaper.
        item = {"inputs": torch.from_numpy(face["img"]).permute(2, 0, 1), "label": label}
        if self._landmarks is not None:
            item["landmarks"] = torch.from_numpy(face["landmarks"])
        return item


class FaceSource:
    """The records of one source of faces.

    Args:
        folder: Folder with ``train.rec``, or with a ``manifest.json``.

    Attributes:
        reader: Reader of the record file.
        keys: ``(n,)`` int64 keys of its images.
        num_classes: Number of identities; every label is below it.

    Raises:
        ManifestError: If the manifest cannot be used, contradicts the records, or says that the
            faces are not aligned.
        RecordError: If the records cannot be read, or a label is out of range.
    """

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder) if (folder / MANIFEST).exists() else None
        if manifest is not None and not manifest.aligned:
            raise ManifestError(
                f"{folder / MANIFEST}: its faces are not aligned; expected a folder of stage align"
            )
        records = folder if manifest is None else records_of(folder, manifest)
        self.reader, layout = open_records(records)
        self.keys = layout.images
        known = read_property(records, layout)
        stated = known.classes if known else manifest.identities if manifest else None
        if self.reader.path.stat().st_size > SCANNED_BYTES and stated is not None:
            self.num_classes = stated
        else:
            self.num_classes = count_classes(self.reader, self.keys, known)
        found = (len(self.keys), self.num_classes)
        if manifest is not None and found != (manifest.images, manifest.identities):
            raise ManifestError(
                f"{folder / MANIFEST}: {manifest.images} images of {manifest.identities} "
                f"identities, but {self.reader.path} now has {found[0]} images of {found[1]} "
                "identities; run stage data again"
            )

    def read_landmarks(self) -> np.ndarray:
        """Read the landmarks of the aligned faces, ``(n, 5, 2)`` float32 in px of a 112 × 112 crop.

        Raises:
            MissingLandmarksError: If there are none.
            ManifestError: If they do not fit the records, or are not finite.
        """
        path = self.reader.path.with_name(ALIGNED_LANDMARKS)
        if not path.exists():
            raise MissingLandmarksError(
                f"{path}: no such file; only faces that stage align aligned have landmarks"
            )
        found, expected = read_array(path), (len(self.keys), 5, 2)
        if found.shape != expected or found.dtype != np.float32:
            raise ManifestError(
                f"{path}: expected float32 of shape {expected}, one for each image of "
                f"{self.reader.path.name}, found {found.dtype} of shape {found.shape}"
            )
        if not np.isfinite(found).all():
            raise ManifestError(f"{path}: not all landmarks are finite")
        return np.asarray(found)

    def decode(self, index: int, size: int) -> tuple[np.ndarray, int]:
        """Decode the image with this index (0 … n − 1) to ``(size, size, 3)`` uint8 RGB.

        Returns:
            The image, and its label in this source.

        Raises:
            RecordError: If the record cannot be read, or its label is out of range.
            ImageError: If the image cannot be decoded.
        """
        key = self.keys[index]
        where = f"{self.reader.path}: key {key}"
        header, encoded = self.reader[key]
        label = identity(header, where)
        check_labels(self.reader, np.array([key]), np.array([label]), self.num_classes)
        return decode_rgb(encoded, size, where), label


class ImageCache:
    """Cache of images and labels in memory that is shared with forked processes.

    An image that one worker of a loader stores is available to all of them, and in later epochs.
    The system allocates pages only as they are filled. A process that is spawned instead of forked
    starts with its own empty cache.

    Args:
        shape: Shape ``(N, H, W, C)`` of all images.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        # Anonymous: /dev/shm is often too small, and writing beyond its end kills a process.
        images, labels = mmap.mmap(-1, math.prod(shape)), mmap.mmap(-1, 8 * shape[0])
        self._images = np.frombuffer(images, np.uint8).reshape(shape)
        # Label + 1; 0 if the image is not stored.
        self._labels = memoryview(labels).cast("q")
        # Also a memory barrier: a process that sees the label of an image sees all its pixels.
        self._lock = multiprocessing.Lock()

    def get(self, index: int) -> tuple[np.ndarray, int] | None:
        """Return a copy of an image, and its label; ``None`` if no process has stored them."""
        with self._lock:
            label = self._labels[index]
        return (self._images[index].copy(), label - 1) if label else None

    def put(self, index: int, image: np.ndarray, label: int) -> None:
        """Store an image and its label, which is ≥ 0, for all processes."""
        self._images[index] = image
        with self._lock:
            self._labels[index] = label + 1

    def __reduce__(self) -> tuple[type["ImageCache"], tuple[tuple[int, ...]]]:
        return ImageCache, (self.shape,)
