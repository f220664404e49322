"""Base class of the heads: it holds one proxy per class, and checks the input."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lh2face.arguments import at_least
from lh2face.functional.similarities import (
    HardNegatives,
    Similarities,
    proxy_similarities,
    shortened,
    unit,
)
from lh2face.registry import MODELS


@MODELS.register_module()
class Proxies(nn.Module):
    """The proxies ``weight (C, d)``, one vector per class, all in one process.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1.

    Raises:
        ValueError: If a number is not in its range.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.num_classes = at_least("num_classes", num_classes, 1)
        self.in_channels = at_least("in_channels", in_channels, 1)
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels).normal_(std=0.01))

    def forward(
        self,
        rows: Tensor,
        labels: Tensor,
        *,
        offset: Tensor | None = None,
        anchor_scale: Tensor | None = None,
        hard: HardNegatives | None = None,
    ) -> Similarities:
        """Reduce the similarities of rows and proxies.

        :func:`lh2face.functional.similarities.proxy_similarities` describes arguments and result.
        """
        return proxy_similarities(
            rows, self.weight, labels, offset=offset, anchor_scale=anchor_scale, hard=hard
        )

    @torch.no_grad()
    def target(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Compute the similarities ``(R,)`` of rows to their labels' proxies, without gradient."""
        return (rows * unit(self.weight[labels])).sum(1)

    def scores(self, rows: Tensor) -> Tensor:
        """Compute the similarities ``(R, C)`` of rows ``(R, d)`` to all proxies, for prediction."""
        return rows @ unit(self.weight).T


class ProxyHead(nn.Module):
    """Base class of the heads: it has the proxies and ``loss``; subclasses define ``terms``.

    mmpretrain's ``ImageClassifier`` also calls ``pre_logits``, ``forward`` and ``predict``. They
    work as in mmpretrain's ``ArcFaceClsHead``.

    Args:
        num_classes: Number of identities C, ≥ 1.
        in_channels: Size d of the embedding, ≥ 1. mmpretrain's heads have the same name for it, so
            its configs can use this head.
        proxies: Config of the module that holds the proxies; ``Proxies`` if ``None``.

    Raises:
        ValueError: If a number is out of its range.
    """

    scale: float  # s; a head without a scale must override rows()

    def __init__(
        self, num_classes: int, in_channels: int = 512, proxies: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.proxies = MODELS.build(
            {
                **(proxies or {"type": "Proxies"}),
                "num_classes": num_classes,
                "in_channels": in_channels,
            }
        )

    def terms(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the loss terms and statistics that :meth:`loss` returns.

        Args:
            embeddings: ``(B, d)`` float32 or float64, not normalised, finite.
            labels: ``(B,)`` int64 in 0 … C − 1.

        Returns:
            Scalars; only the names of loss terms contain "loss".
        """
        raise NotImplementedError

    def rows(self, embeddings: Tensor) -> Tensor:
        """Return the rows ``(B, d)`` to compare with proxies: unit embeddings times the scale s."""
        return self.scale * unit(embeddings)

    def pre_logits(self, embeddings: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the embeddings ``(B, d)``, which may be the last item of a sequence."""
        return last(embeddings)

    def forward(self, embeddings: Tensor | Sequence[Tensor]) -> Tensor:
        """Compute the logits ``(B, C)`` of all classes, without margin.

        Args:
            embeddings: ``(B, d)``, not normalised, or a sequence whose last item is this tensor.
        """
        embeddings = shortened(self.pre_logits(embeddings))
        with torch.autocast(embeddings.device.type, enabled=False):
            scores: Tensor = self.proxies.scores(self.rows(embeddings))
        return scores

    def predict(
        self, embeddings: Tensor | Sequence[Tensor], data_samples: Sequence[Any] | None = None
    ) -> list[Any]:
        """Write the predicted classes to mmpretrain's data samples.

        Args:
            embeddings: ``(B, d)``, not normalised, or a sequence whose last item is this tensor.
            data_samples: B data samples; ``None`` stands for new ones, for all or for one.

        Returns:
            The B samples, each with ``pred_score (C,)``, the softmax of the logits, and
            ``pred_label (1,)``, the class of the greatest score.
        """
        from mmpretrain.structures import DataSample

        scores = self(embeddings).softmax(1)
        given = [None] * len(scores) if data_samples is None else data_samples
        samples = [DataSample() if sample is None else sample for sample in given]
        for sample, score in zip(samples, scores, strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax(0, keepdim=True))
        return samples

    def loss(
        self, embeddings: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Any]
    ) -> dict[str, Tensor]:
        """Compute the loss terms; mmengine sums those with "loss" in their names.

        Finite embeddings give finite losses and gradients, with two exceptions in float16. A
        gradient has the dtype of the embeddings; in float16 it overflows if |z| is below about
        s / 65504, which a loss scaler detects. Under autocast to float16, the entries and their
        products with proxies must be below 65504.

        Args:
            embeddings: ``(B, d)``, not normalised, since the norm is κ. Or a sequence whose last
                item is this tensor, such as mmpretrain's backbones return.
            labels: ``(B,)`` int64 in 0 … C − 1. Or B data samples of mmpretrain, each of which has
                one label.

        Returns:
            Loss terms and statistics: scalars by name. Only the names of loss terms contain "loss".

        Raises:
            ValueError: If shapes or types do not fit, the batch is empty, an embedding is not
                finite, a label is outside 0 … C − 1, or labels are mixed (``gt_score``).
        """
        return self.terms(*self.prepare(embeddings, labels))

    def prepare(
        self, embeddings: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Any]
    ) -> tuple[Tensor, Tensor]:
        """Convert the arguments of :meth:`loss` to tensors, and check them.

        Returns:
            Embeddings ``(B, d)`` in float32 or wider, shortened to a norm of at most 1e18, and
            labels ``(B,)``.

        Raises:
            ValueError: For the reasons that :meth:`loss` lists.
        """
        embeddings, labels = last(embeddings), as_classes(labels)
        self.check(embeddings, labels)
        return shortened(embeddings), labels

    def check(self, embeddings: Tensor, labels: Tensor) -> None:
        """Check embeddings ``(B, d)`` and labels ``(B,)``; the device is synchronised only once.

        Raises:
            ValueError: If shapes or types do not fit, the batch is empty, an embedding is not
                finite, or a label is outside 0 … C − 1.
        """
        num_classes, in_channels = self.proxies.num_classes, self.proxies.in_channels
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


def last(embeddings: Tensor | Sequence[Tensor]) -> Tensor:
    """Return a tensor itself, or the last item of a sequence of tensors."""
    return embeddings if isinstance(embeddings, Tensor) else embeddings[-1]


def as_classes(labels: Tensor | Sequence[Any]) -> Tensor:
    """Return labels ``(B,)`` themselves, or those of mmpretrain's B data samples.

    Raises:
        ValueError: If the data samples have mixed labels.
    """
    if isinstance(labels, Tensor):
        return labels
    if any("gt_score" in sample for sample in labels):
        raise ValueError(
            "gt_score: expected data samples with gt_label alone, found mixed labels; a margin "
            "needs one class per image: train without mixup and cutmix (model.train_cfg.augments)"
        )
    return torch.cat([sample.gt_label for sample in labels])


@torch.no_grad()
def mean_over_ranks(statistic: Tensor) -> Tensor:
    """Compute the mean of a batch statistic over the processes, without gradient."""
    statistic = statistic.detach().clone()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(statistic)
        statistic /= dist.get_world_size()
    return statistic
