"""What every head with one proxy a class shares: the weights, and the check of its input."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ProxyHead(nn.Module):
    """Proxies ``weight (num_classes, in_channels)`` and their cosines with embeddings.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding.
    """

    def __init__(self, num_classes: int, in_channels: int = 512) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, found {num_classes}")
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels).normal_(std=0.01))

    def cosines(self, embeddings: Tensor) -> Tensor:
        """``(B, C)`` cosines in [−1, 1], in float32 or wider; 0 for a zero embedding."""
        return (unit(embeddings) @ unit(self.weight).T).clamp(-1, 1)

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """Raise what is wrong with the arguments of ``loss``.

        The values are looked at in one synchronisation of the device.

        Raises:
            ValueError: If shapes or types do not fit, the batch is empty, an embedding is not
                finite, or a label is outside 0 … C − 1.
        """
        num_classes, in_channels = self.weight.shape
        if embeddings.ndim != 2 or embeddings.shape[1] != in_channels:
            raise ValueError(
                f"embeddings: expected (B, {in_channels}), found {tuple(embeddings.shape)}"
            )
        if len(embeddings) == 0:
            raise ValueError("embeddings: expected at least one, found an empty batch")
        if labels.shape != embeddings.shape[:1] or labels.dtype != torch.int64:
            raise ValueError(
                f"labels: expected ({len(embeddings)},) of int64, found {tuple(labels.shape)} of "
                f"{labels.dtype}"
            )
        low, high = labels.aminmax()
        finite = embeddings.isfinite().all()
        low, high, finite = torch.stack([low, high, finite.long()]).tolist()
        if not finite:
            raise ValueError("embeddings: expected finite numbers, found NaN or infinity")
        if low < 0 or high >= num_classes:
            raise ValueError(f"labels: expected 0 … {num_classes - 1}, found {low} … {high}")


def unit(vectors: Tensor) -> Tensor:
    """Rows of length 1, in float32 or wider; a zero row stays zero."""
    return F.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=1)
