"""Reductions over processes, differentiable where every process goes on to compute the same loss.

The loss is then one number, not one a process: what a process puts into a reduction gets the
gradient of the result as it is, and what all of them read gets the sum of their gradients. In one
process, or without a process group, each of these is what it is of a single part.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def world_size() -> int:
    """Number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process; 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def all_gather(tensor: Tensor) -> list[Tensor]:
    """The tensors ``(n_r, …)`` of all processes, n_r of any length; no gradient."""
    if world_size() == 1:
        return [tensor]
    tensor = tensor.detach().contiguous()
    own = torch.tensor([len(tensor)], device=tensor.device)
    lengths = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(lengths, own)
    lengths = torch.cat(lengths).tolist()
    padded = F.pad(tensor, [0, 0] * (tensor.ndim - 1) + [0, max(lengths) - len(tensor)])
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return [part[:length] for part, length in zip(parts, lengths, strict=True)]


def concatenate(tensor: Tensor, gradient_scale: float = 1.0) -> Tensor:
    """The tensors ``(n_r, …)`` of all processes as one, ``(Σ n_r, …)``.

    Args:
        tensor: ``(n_r, …)``.
        gradient_scale: Factor on the gradient; the number of processes for embeddings of a network
            in ``DistributedDataParallel``, which averages the gradients of its parameters.
    """
    return _Concatenate.apply(tensor, gradient_scale)


def shared(tensor: Tensor) -> Tensor:
    """A tensor that is the same everywhere and that every process reads with its own classes."""
    return _Shared.apply(tensor)


def sum_parts(tensor: Tensor) -> Tensor:
    """Sum over the processes."""
    return _SumParts.apply(tensor)


def logsumexp_parts(tensor: Tensor) -> Tensor:
    """``log Σ exp`` over the processes; −inf where all parts are."""
    return _LogSumExpParts.apply(tensor)


class _Concatenate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gradient_scale: float) -> Tensor:
        parts = all_gather(tensor)
        ctx.lengths, ctx.gradient_scale = [len(part) for part in parts], gradient_scale
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.split(ctx.lengths)[rank()] * ctx.gradient_scale, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _all_reduced(grad)


class _SumParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _all_reduced(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _LogSumExpParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = torch.stack(all_gather(tensor)).logsumexp(0)
        ctx.save_for_backward(tensor, total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        tensor, total = ctx.saved_tensors
        # exp(−inf − 0) = 0; −inf − −inf would be NaN.
        return grad * (tensor - total.masked_fill(total == -torch.inf, 0)).exp()


def _all_reduced(tensor: Tensor) -> Tensor:
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor
