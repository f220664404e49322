"""The sums over the similarities of samples to proxies that the losses need.

The classes are processed in chunks, in the forward and the backward pass, so the whole matrix of
samples × classes is never in memory.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Number of entries of the matrix samples × classes in a chunk; on a CPU it should fit in the cache.
CHUNK_ENTRIES = {"cpu": 1 << 18, "cuda": 1 << 26}
# Vectors shorter than this count as zero.
TINY = 1e-12
# Longer vectors are shortened to this length, so that squares and sums stay within float32.
LONGEST = 1e18


class HardNegatives(NamedTuple):
    """CurricularFace's rule: a negative ``s`` above the threshold becomes ``s (t + s/a)``.

    With s = a cosθ this is ``a cosθ (t + cosθ)`` (arXiv 2004.00288, eq. 8 to 12).

    Attributes:
        threshold: ``(R,)`` threshold of each row.
        boost: t, a scalar tensor, in [−1, 1].
        scale: a, the scale of the similarities, > 0.
    """

    threshold: Tensor
    boost: Tensor
    scale: float


class Similarities(NamedTuple):
    """Reductions of the similarities ``s_ij = rows_i · ŵ_j``, where ŵ_j is proxy j with length 1.

    Attributes:
        target: ``(R,)`` s_ij of each row i and the proxy j of its label; 0 for the label −1.
        negatives: ``(R,)`` log Σ_j exp s_ij over the proxies j of all other classes; −inf if there
            are none.
        columns: ``(C,)`` log Σ_i exp(s_ij + offset_i) over the rows i that have an offset and a
            label other than j; −inf if there are none.
    """

    target: Tensor
    negatives: Tensor
    columns: Tensor


def unit(vectors: Tensor) -> Tensor:
    """Normalise rows to length 1.

    Args:
        vectors: ``(B, d)`` floats.

    Returns:
        ``(B, d)`` in float32 or wider; rows shorter than 1e-12 do not change.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    norms = length(vectors)[:, None]
    return vectors / torch.where(norms > TINY, norms, 1)


def shortened(vectors: Tensor) -> Tensor:
    """Shorten rows that are longer than ``LONGEST`` to that length, and keep their direction.

    Args:
        vectors: ``(B, d)`` floats with entries up to 1e150.

    Returns:
        ``(B, d)`` in float32 or wider; shorter rows do not change.
    """
    wide = vectors.double()
    norms: Tensor = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
    factor = (LONGEST / norms).clamp(max=1).detach()
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    return (wide * factor).to(dtype)


def length(vectors: Tensor) -> Tensor:
    """Compute the Euclidean norms of rows in float64, so that large entries do not overflow.

    Args:
        vectors: ``(B, d)`` floats.

    Returns:
        ``(B,)`` in float32 or wider.
    """
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64)
    return norms.to(dtype)


def proxy_similarities(
    rows: Tensor,
    proxies: Tensor,
    labels: Tensor,
    *,
    offset: Tensor | None = None,
    anchor_scale: Tensor | None = None,
    hard: HardNegatives | None = None,
) -> Similarities:
    """Compute the target similarities, and the logsumexp over negatives by row and by column.

    :class:`Similarities` has the formulas. The backward pass computes the similarities again
    instead of storing them. This takes four matrix products of rows and proxies instead of three,
    but memory for one chunk only. Under autocast the products use its dtype and everything else
    float32; with float16, entries must be below 65504. The function can be differentiated only
    once.

    Args:
        rows: ``(R, d)`` float32 or float64: unit embeddings times a scale, or embeddings.
        proxies: ``(C, d)`` float32 or float64; they need not have length 1.
        labels: ``(R,)`` int64 in 0 … C − 1: the class of each row. Its proxy is not among the row's
            negatives. −1 for no class.
        offset: ``(S,)`` offsets of the first S ≤ R rows; with ``None``, ``columns`` is −inf.
        anchor_scale: μ, a scalar. If given, R rows ``μ ŵ_y``, one per label y, are appended, which
            gives proxy–proxy similarities. Then no label may be −1.
        hard: Rule that changes the similarities in ``negatives``; its own values get no gradient.

    Returns:
        The reductions; with ``anchor_scale`` they have 2R rows instead of R.
    """
    if offset is None:
        offset = rows.new_empty(0)
    kind = rows.device.type
    product = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
    function: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Similarities.apply
    with torch.autocast(kind, enabled=False):
        return Similarities(*function(rows, proxies, labels, offset, anchor_scale, hard, product))


class _Similarities(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        proxies: Tensor,
        labels: Tensor,
        offset: Tensor,
        anchor_scale: Tensor | None,
        hard: HardNegatives | None,
        product: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if anchor_scale is not None:
            rows = torch.cat([rows, anchor_scale * unit(proxies[labels])])
            labels = labels.repeat(2)
        target = rows.new_zeros(len(rows))
        negatives = torch.full_like(target, -torch.inf)
        columns = rows.new_full((len(proxies),), -torch.inf)
        for chunk in _chunks(rows, proxies, labels, product):
            target += torch.where(chunk.inside, chunk.own, 0).squeeze(1)
            others = chunk.similarities
            chunk.put_own(others, -torch.inf)
            hardened = _harden(others, hard) if hard else others
            negatives = torch.logaddexp(negatives, hardened.logsumexp(1))
            if len(offset):
                columns[chunk.classes] = (others[: len(offset)] + offset[:, None]).logsumexp(0)
        ctx.save_for_backward(rows, proxies, labels, offset, anchor_scale, negatives, columns)
        ctx.hard, ctx.product = hard, product
        return target, negatives, columns

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, target_grad: Tensor, negatives_grad: Tensor, columns_grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        rows, proxies, labels, offset, anchor_scale, negatives, columns = ctx.saved_tensors
        hard = ctx.hard
        # exp(−inf − 0) = 0 where there are no negatives; −inf − −inf would be NaN.
        negatives = negatives.masked_fill(negatives == -torch.inf, 0)[:, None]
        columns = columns.masked_fill(columns == -torch.inf, 0)
        rows_grad, offset_grad = torch.zeros_like(rows), torch.zeros_like(offset)
        proxies_grad = torch.empty_like(proxies)
        for chunk in _chunks(rows, proxies, labels, ctx.product):
            similarities, classes = chunk.similarities, chunk.classes
            grad = _harden(similarities, hard) if hard else similarities.clone()
            grad.sub_(negatives).exp_().mul_(negatives_grad[:, None])
            if hard:
                slope = hard.boost + (2 / hard.scale) * similarities
                grad *= torch.where(similarities > hard.threshold[:, None], slope, 1)
            if len(offset):
                part = similarities[: len(offset)] + offset[:, None]
                part.sub_(columns[classes]).exp_().mul_(columns_grad[classes])
                chunk.put_own(part, 0)
                offset_grad += part.sum(1)
                grad[: len(offset)] += part
            chunk.put_own(grad, target_grad[:, None])
            along = similarities.mul_(grad).sum(0)
            grad *= chunk.inverse_lengths
            typed = grad.to(ctx.product)
            rows_grad += typed @ chunk.proxies.to(ctx.product)
            part = (typed.T @ rows.to(ctx.product)).to(proxies_grad.dtype)
            radial = (along * chunk.inverse_lengths.square())[:, None]
            torch.addcmul(part, chunk.proxies, radial, value=-1, out=proxies_grad[classes])
        scale_grad = None
        if anchor_scale is not None:
            rows_grad, anchors_grad = rows_grad.chunk(2)
            labels = labels[: len(rows_grad)]
            with torch.enable_grad():
                own = proxies[labels].detach().requires_grad_()
                scale = anchor_scale.detach().requires_grad_()
                own_grad, scale_grad = torch.autograd.grad(
                    scale * unit(own), (own, scale), anchors_grad
                )
            proxies_grad.index_add_(0, labels, own_grad)
        return rows_grad, proxies_grad, None, offset_grad, scale_grad, None, None


class _Chunk:
    """The similarities ``(R, c)`` of all rows to the c classes of a chunk."""

    def __init__(
        self, rows: Tensor, proxies: Tensor, labels: Tensor, classes: slice, product: torch.dtype
    ) -> None:
        self.classes = classes
        self.proxies = proxies[classes]
        lengths = self.proxies.to(rows.dtype).norm(dim=1)
        self.inverse_lengths = torch.where(lengths > TINY, lengths, 1).reciprocal()
        similarities = rows.to(product) @ self.proxies.to(product).T
        self.similarities = similarities.to(rows.dtype).mul_(self.inverse_lengths)
        place = labels[:, None] - classes.start
        self.inside = (place >= 0) & (place < len(self.proxies))
        self.place = place.clamp(0, len(self.proxies) - 1)
        self.own = self.similarities.gather(1, self.place)

    def put_own(self, matrix: Tensor, value: Tensor | float) -> None:
        """Overwrite each row's entry of its own class, without synchronising the device."""
        place, inside = self.place[: len(matrix)], self.inside[: len(matrix)]
        matrix.scatter_(1, place, torch.where(inside, value, matrix.gather(1, place)))


def _chunks(
    rows: Tensor, proxies: Tensor, labels: Tensor, product: torch.dtype
) -> Iterator[_Chunk]:
    size = max(1, CHUNK_ENTRIES[rows.device.type] // len(rows))
    for start in range(0, len(proxies), size):
        yield _Chunk(rows, proxies, labels, slice(start, start + size), product)


def _harden(similarities: Tensor, hard: HardNegatives) -> Tensor:
    harder = similarities * (hard.boost + similarities / hard.scale)
    return torch.where(similarities > hard.threshold[:, None], harder, similarities)
