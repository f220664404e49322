"""Validation during training: the data set of pairs of faces, and the metric."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lh2face.artifacts.training_record import MEAN
from lh2face.data.align import check_aligned
from lh2face.data.benchmark import PairList, check_kinds, read_benchmark
from lh2face.data.images import decode_rgb
from lh2face.data.verification_bin import read_bin
from lh2face.distributed.collectives import all_gather
from lh2face.evaluation.features import directions
from lh2face.evaluation.roc import roc_curve, tar_figures
from lh2face.evaluation.verification import fold_accuracy, fold_decisions
from lh2face.registry import DATASETS, METRICS


class ValidationError(ValueError):
    """A validation cannot be run; the message names the file or the key."""


@DATASETS.register_module()
class PairFaces(Dataset[dict[str, Any]]):
    """Data set of the faces of verification pairs.

    An item is ``dict(inputs (3, S, S) uint8 RGB, label int)``. Each face occurs once, however many
    pairs it belongs to. Its label is its index.

    Args:
        paths: Verification bins, such as ``lfw.bin``, and benchmark folders with pairs, as stage
            ``align_benchmark`` writes them. A list of pairs is named after its file or folder. If a
            folder has several lists, the name of the list follows: ``people/profile``.
        image_size: Side S of the images in pixels.

    Attributes:
        metainfo: ``{"pairs": lists}``, where ``lists`` has the
            :class:`~lh2face.data.benchmark.PairList` of each name, with indices of this data set.

    Raises:
        ValidationError: If there is no path, a path is missing, two have the same name, or a folder
            has no pairs.
        BinError: If a file is not a verification bin.
        BenchmarkError: If the pairs of a file are all genuine or all impostor pairs.
        ImageError: If a face cannot be decoded or is not 112 × 112 px.
    """

    def __init__(self, paths: Sequence[str], image_size: int = 112) -> None:
        self.image_size = image_size
        self._faces: list[tuple[bytes, str]] = []
        pairs: dict[str, PairList] = {}
        for path in map(Path, paths):
            name = path.stem if path.is_file() else path.name
            if name == MEAN or any(known.partition("/")[0] == name for known in pairs):
                raise ValidationError(
                    f"{path}: the name {name} is taken; rename the file or folder"
                )
            pairs |= self._folder(path, name) if path.is_dir() else self._bin(path, name)
        if not pairs:
            raise ValidationError("PairFaces.paths: expected at least one path, found none")
        self.metainfo = {"pairs": pairs}
        for encoded, source in self._faces:  # fail now, not hours later
            check_aligned(encoded, source)

    def _bin(self, path: Path, name: str) -> dict[str, PairList]:
        if not path.exists():
            raise ValidationError(f"{path}: no such file or folder; expected pairs to validate on")
        images, same = read_bin(path)
        check_kinds(same, path)
        first: dict[bytes, int] = {}  # a photo may be in several pairs
        for number, image in enumerate(images):
            first.setdefault(image, number)
        rows = {image: row for row, image in enumerate(first, start=len(self._faces))}
        self._faces += [(image, f"{path}: image {number}") for image, number in first.items()]
        found = np.array([rows[image] for image in images])
        return {name: PairList(found[::2], found[1::2], same)}

    def _folder(self, path: Path, name: str) -> dict[str, PairList]:
        benchmark = read_benchmark(path)
        if not benchmark.pairs:
            raise ValidationError(f"{path}: has no pairs of faces to validate on")
        listed = [np.r_[pairs.first, pairs.second] for pairs in benchmark.pairs.values()]
        used, start = np.unique(np.concatenate(listed)), len(self._faces)
        where = benchmark.faces.path
        self._faces += [(benchmark.faces[row + 1][1], f"{where}: image {row}") for row in used]

        def indexed(pairs: PairList) -> PairList:
            first, second = (start + np.searchsorted(used, p) for p in (pairs.first, pairs.second))
            return PairList(first, second, pairs.same, pairs.fold)

        alone = len(benchmark.pairs) == 1
        return {
            name if alone else f"{name}/{of_list}": indexed(pairs)
            for of_list, pairs in benchmark.pairs.items()
        }

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = decode_rgb(self._faces[index][0], self.image_size, self._faces[index][1])
        return {"inputs": torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), "label": index}


@METRICS.register_module()
class VerificationAccuracy:
    """Ten-fold accuracy, and true accept rate (TAR) at a FAR, computed as in stage ``evaluate``.

    The data set must be :class:`PairFaces`. For each face, the model must return the embeddings of
    the image and of its mirror image, as :class:`~lh2face.recognizers.FaceRecognizer` does.

    Args:
        far: The false accept rate (FAR), in (0, 1). If it is below 1 / (number of impostor pairs),
            the result has no ``tar``.
    """

    def __init__(self, far: float = 1e-3) -> None:
        self.far = far
        self.dataset_meta: dict[str, Any] = {}
        self._rows: list[Tensor] = []
        self._faces: list[Tensor] = []

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[Tensor]) -> None:
        """Store the embeddings ``(2, d)`` of each face of a batch of :class:`PairFaces`."""
        faces = torch.stack(list(data_samples))
        self._rows.append(torch.as_tensor(data_batch["label"], device=faces.device))
        self._faces.append(faces)

    def evaluate(self, size: int) -> dict[str, float]:
        """Compute the metrics from the embeddings of all processes, and discard the embeddings.

        Every process must call this; each gets the same result.

        Args:
            size: Number of faces.

        Returns:
            ``NAME/accuracy`` and ``NAME/tar``, in [0, 1], for every list of pairs, for every
            benchmark (the mean over its lists), and for ``mean`` (the mean over the benchmarks).

        Raises:
            EvaluationError: If an embedding is not finite, or there are fewer pairs than folds.
        """
        rows, faces = (torch.cat(all_gather(torch.cat(part))) for part in (self._rows, self._faces))
        self._rows, self._faces = [], []
        # A sampler may repeat some faces, so that all processes have equally many.
        embeddings = np.full((size, *faces.shape[1:]), np.nan, np.float32)
        embeddings[rows.cpu().numpy()] = faces.float().cpu().numpy()
        unit = directions(embeddings)
        by_list = {
            name: self._figures((unit[pairs.first] * unit[pairs.second]).sum(axis=1), pairs)
            for name, pairs in self.dataset_meta["pairs"].items()
        }
        of_benchmark: dict[str, list[dict[str, float]]] = {}
        for name, figures in by_list.items():
            of_benchmark.setdefault(name.partition("/")[0], []).append(figures)
        means = {name: mean_of(lists) for name, lists in of_benchmark.items()}
        every = {**by_list, **means, MEAN: mean_of(list(means.values()))}
        return {
            f"{name}/{key}": value
            for name, all_of in every.items()
            for key, value in all_of.items()
        }

    def _figures(self, scores: np.ndarray, pairs: PairList) -> dict[str, float]:
        accuracy, _ = fold_accuracy(fold_decisions(scores, pairs.same, fold=pairs.fold), pairs.fold)
        impostors = int((~pairs.same).sum())
        (tar,) = tar_figures(*roc_curve(scores, pairs.same), [self.far], impostors).values()
        return {"accuracy": accuracy} if tar is None else {"accuracy": accuracy, "tar": tar}


def mean_of(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Compute the mean of each figure that all dictionaries have."""
    return {
        key: float(np.mean([one[key] for one in figures]))
        for key in figures[0]
        if all(key in one for one in figures)
    }
