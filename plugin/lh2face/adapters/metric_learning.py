"""Use a head as a loss for pytorch-metric-learning, which need not be installed."""

from typing import Any

from torch import Tensor, nn

import lh2face.register  # noqa: F401
from lh2face.recognizers.face_recognizer import summed_loss
from lh2face.registry import MODELS


class BuiltHead(nn.Module):
    """Base class of the modules that give a head the interface of another toolbox.

    Args:
        **config: Config of the head; ``type`` is the name of a registered head.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.head = MODELS.build(config)

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the sum of the head's loss terms for embeddings ``(B, d)``, labels ``(B,)``."""
        return summed_loss(self.head.loss(embeddings, labels))


class HeadLoss(BuiltHead):
    """A head with the interface of pytorch-metric-learning's losses.

    Its proxies are parameters, which must be passed to an optimizer.

    Args:
        **config: Config of the head; ``type`` is the name of a registered head.

    Example:
        ``HeadLoss(type="LH2FaceHead", num_classes=1000, in_channels=512, vmf_dim=256)``
    """

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Compute the sum of the head's loss terms.

        Args:
            embeddings: ``(B, d)``, not normalised.
            labels: ``(B,)`` int64, 0 … C − 1.
            indices_tuple: Samples chosen by a miner; must be ``None``.
            ref_emb: Reference embeddings; must be ``None``, because a head compares with its
                proxies.
            ref_labels: Labels of the reference embeddings; must be ``None``.

        Returns:
            Scalar loss.

        Raises:
            ValueError: If one of the last three arguments is not ``None``, or the head raises it.
        """
        given = {"indices_tuple": indices_tuple, "ref_emb": ref_emb, "ref_labels": ref_labels}
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{name}: expected None, found {type(value).__name__}; a head compares every "
                    "sample with its proxies, without miner, memory or reference"
                )
        return self.loss(embeddings, labels)
