"""Gradient clipping by the norm over all processes."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from lh2face.distributed.collectives import world_size


def clip_grad_norm_(
    parameters: Iterable[nn.Parameter],
    max_norm: float,
    norm_type: float = 2.0,
    *,
    sharded: Iterable[nn.Parameter],
) -> Tensor:
    """Clip gradients like :func:`torch.nn.utils.clip_grad_norm_`, with sharded parameters.

    PyTorch's function would compute a different norm in each process, and scale the parameters that
    they share differently.

    Args:
        parameters: All parameters, sharded or not.
        max_norm: Greatest allowed norm of the vector of all gradients.
        norm_type: p of the p-norm; finite.
        sharded: Those of the parameters that are divided over the processes.

    Returns:
        The norm over all processes before clipping; a scalar.
    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    parts = {id(parameter) for parameter in sharded}
    gradients = [(id(one), one.grad) for one in parameters if one.grad is not None]
    mine = [gradient for key, gradient in gradients if key in parts]
    common = [gradient for key, gradient in gradients if key not in parts]
    power = get_total_norm(mine, norm_type) ** norm_type
    if world_size() > 1:
        dist.all_reduce(power)
    total = (power + get_total_norm(common, norm_type) ** norm_type) ** (1 / norm_type)
    clip_grads_with_norm_(parameters, max_norm, total)
    return torch.as_tensor(total)
