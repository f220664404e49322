"""Differentiable reductions over processes, for a loss that is the same in all processes.

Every process computes the same scalar loss, so its gradient must not be counted once per process.
Therefore the input of :func:`sum_parts` gets the gradient of the sum unchanged, and a tensor that
passes through :func:`shared` gets the sum of the gradients of all processes. With one process, or
without a process group, no function communicates.
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
    """Rank of this process; 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def all_gather(tensor: Tensor) -> list[Tensor]:
    """Gather the tensors of all processes, without gradient.

    Args:
        tensor: ``(n_r, …)``; the lengths n_r of the processes may differ.

    Returns:
        The tensors ``(n_0, …)``, ``(n_1, …)`` … by rank.
    """
    if world_size() == 1:
        return [tensor]
    tensor = tensor.detach().contiguous()
    own = torch.tensor([len(tensor)], device=tensor.device)
    lengths = [torch.empty_like(own) for _ in range(world_size())]
    dist.all_gather(lengths, own)
    counts = torch.cat(lengths).tolist()
    padded = F.pad(tensor, [0, 0] * (tensor.ndim - 1) + [0, max(counts) - len(tensor)])
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return [part[:length] for part, length in zip(parts, counts, strict=True)]


def concatenate(tensor: Tensor, gradient_scale: float = 1.0) -> Tensor:
    """Concatenate the tensors ``(n_r, …)`` of all processes to ``(Σ n_r, …)``.

    Args:
        tensor: ``(n_r, …)``; the lengths n_r of the processes may differ.
        gradient_scale: Factor on the gradient. For embeddings from ``DistributedDataParallel``, use
            the number of processes, because it averages the gradients of the parameters.
    """
    return _applied(_Concatenate, tensor, gradient_scale)


def shared(tensor: Tensor) -> Tensor:
    """Return a tensor that is equal in all processes; its gradient is summed over them."""
    return _applied(_Shared, tensor)


def sum_parts(tensor: Tensor) -> Tensor:
    """Sum tensors of equal shape over the processes; each gets the gradient of the sum."""
    return _applied(_SumParts, tensor)


def logsumexp_parts(tensor: Tensor) -> Tensor:
    """Compute ``log Σ exp`` over the processes for each element; −inf if all inputs are −inf."""
    return _applied(_LogSumExpParts, tensor)


def _applied(function: Any, *inputs: Any) -> Tensor:
    """Apply an autograd function, as PyTorch's ``apply`` has no types."""
    result: Tensor = function.apply(*inputs)
    return result


class _Concatenate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gradient_scale: float) -> Tensor:
        parts = all_gather(tensor)
        ctx.lengths, ctx.gradient_scale = [len(part) for part in parts], gradient_scale
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.split(grad, ctx.lengths)[rank()] * ctx.gradient_scale, None


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
        share: Tensor = (tensor - total.masked_fill(total == -torch.inf, 0)).exp()
        return grad * share


def _all_reduced(tensor: Tensor) -> Tensor:
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor
