"""From the uint8 images of a data loader to what the models read."""

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from lh2face.registry import MODELS


def normalize_images(images: Tensor) -> Tensor:
    """Scale 8-bit RGB to the range the networks read, ``x / 127.5 − 1``.

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
    # channels_last is what the convolutions of CPU and GPU run fastest in; converting the bytes
    # first moves a quarter of what converting the floats would.
    return images.contiguous(memory_format=torch.channels_last).float().div_(127.5).sub_(1)


def mirror_some(images: Tensor, probability: float) -> Tensor:
    """Flip each image left to right with the given probability.

    Args:
        images: ``(B, C, H, W)``.
        probability: In [0, 1].

    Returns:
        ``(B, C, H, W)``; draws from PyTorch's generator of the CPU, so that the same seed flips
        the same images on every device.
    """
    flip = torch.rand(len(images)) < probability
    if flip.any():
        flip = flip.to(images.device)
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
    return images


@MODELS.register_module()
class FacePreprocessor(BaseDataPreprocessor):
    """Move a batch to the model's device, mirror it at random when training, normalise it.

    Augmentation is here and not in the data set because a batch on the model's device is cheaper
    to augment than its images one by one, and because the draws then do not depend on the number
    of data-loading workers.

    Args:
        mirror: Probability of a left-right flip of each training image, in [0, 1].
        non_blocking: As for :meth:`torch.Tensor.to`.

    Raises:
        ValueError: If ``mirror`` is out of its range.
    """

    def __init__(self, mirror: float = 0.5, non_blocking: bool = False) -> None:
        super().__init__(non_blocking=non_blocking)
        if not 0 <= mirror <= 1:
            raise ValueError(f"mirror: expected a probability in [0, 1], found {mirror!r}")
        self.mirror = mirror

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a collated batch.

        Args:
            data: ``inputs`` ``(B, 3, S, S)`` uint8 RGB and, for training, ``label`` ``(B,)``
                int64; further keys are moved and passed on.
            training: Whether to augment.

        Returns:
            The same keys, ``inputs`` float32 in [-1, 1].
        """
        data = dict(self.cast_data(data))
        images = data["inputs"]
        if training and self.mirror:
            images = mirror_some(images, self.mirror)
        data["inputs"] = normalize_images(images)
        return data
