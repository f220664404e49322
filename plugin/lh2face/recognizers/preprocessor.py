"""Conversion of a data loader's uint8 images to the input of the models."""

from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from lh2face.registry import MODELS


def normalize_images(images: Tensor) -> Tensor:
    """Scale 8-bit RGB images to [-1, 1]: ``x / 127.5 − 1``.

    Args:
        images: ``(B, 3, H, W)`` uint8, 0 … 255.

    Returns:
        ``(B, 3, H, W)`` float32 in [-1, 1], channels last in memory.

    Raises:
        ValueError: If ``images`` is not a batch of uint8 RGB images.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            "images: expected uint8 of shape (B, 3, H, W), "
            f"found {images.dtype} of shape {tuple(images.shape)}"
        )
    # Convolutions are fastest with channels_last. Reordering the bytes, before the conversion to
    # float, moves a quarter of the memory.
    return images.contiguous(memory_format=torch.channels_last).float().div_(127.5).sub_(1)


@MODELS.register_module()
class FacePreprocessor(BaseDataPreprocessor):  # type: ignore[misc]  # mmengine has no types
    """Move a batch to the model's device and normalise it.

    Args:
        non_blocking: Whether to copy to the device asynchronously, as in :meth:`torch.Tensor.to`.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepare a collated batch.

        Args:
            data: ``inputs`` ``(B, 3, S, S)`` uint8 RGB and, for training, ``label`` ``(B,)``
                int64; other keys are only moved to the device.
            training: Ignored: the data set does the augmentation.

        Returns:
            The same keys, with ``inputs`` as float32 in [-1, 1].

        Raises:
            ValueError: If ``inputs`` is not a batch of uint8 RGB images.
        """
        data = dict(self.cast_data(data))
        data["inputs"] = normalize_images(data["inputs"])
        return data
