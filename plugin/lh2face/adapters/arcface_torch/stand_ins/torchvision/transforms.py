"""Transforms of RGB ``(H, W, 3)`` uint8 arrays instead of PIL images."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Compose:
    """Apply several transforms in turn."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class ToPILImage:
    """Return the array unchanged."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image


class RandomHorizontalFlip:
    """Mirror the image left to right with a probability."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image[:, ::-1] if torch.rand(1) < self.p else image


class ToTensor:
    """Convert an image to ``(3, H, W)`` float32 in [0, 1]."""

    def __call__(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div(255)


class Normalize:
    """Subtract the mean from each channel, and divide by the standard deviation."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (mean, std))

    def __call__(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std
