"""Transforms of RGB ``(H, W, 3)`` uint8 arrays, in the place of PIL images."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class ToPILImage:
    """Keeps the array."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image


class RandomHorizontalFlip:
    """Left-right mirror with a probability."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image[:, ::-1] if torch.rand(1) < self.p else image


class ToTensor:
    """``(3, H, W)`` float32 in [0, 1]."""

    def __call__(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div(255)


class Normalize:
    """Less the mean, over the deviation, by channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (mean, std))

    def __call__(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std
