"""Mixed-precision training in bfloat16 or float16, on any device with autocast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):  # type: ignore[misc]  # mmengine has no types
    """Run the forward pass of each step under autocast.

    Weights and gradients stay in float32, and this project's heads compute in float32. float16
    covers only 6e-8 to 65504, so the loss is multiplied by a scale. If the gradients of a step
    overflow, every process skips that step and halves the scale. bfloat16 has the range of float32
    and needs no scale.

    mmengine's ``AmpOptimWrapper`` supports float16 and bfloat16 on accelerators, not on the CPU.

    Args:
        dtype: ``"bfloat16"`` or ``"float16"``.
        **kwargs: Arguments of mmengine's ``OptimWrapper``: ``optimizer``, ``accumulative_counts``,
            ``clip_grad``.

    Raises:
        ValueError: If ``dtype`` has another value.

    Example:
        ``optim_wrapper = dict(type="AutocastOptimWrapper", dtype="bfloat16",
        optimizer=dict(type="SGD", lr=0.1))``
    """

    def __init__(self, dtype: str = "bfloat16", **kwargs: Any) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"optim_wrapper.dtype: expected one of {[*DTYPES]}, found {dtype!r}")
        super().__init__(**kwargs)
        self.dtype = DTYPES[dtype]
        self.device = self.optimizer.param_groups[0]["params"][0].device.type
        if self.dtype is torch.float16:
            self.loss_scaler = new_loss_scaler(self.device)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context for the forward pass of a step: gradient accumulation and autocast."""
        with super().optim_context(model), torch.autocast(self.device, self.dtype):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute the gradients of a scalar loss and add them to those of the parameters."""
        if self.dtype is torch.float16:
            loss = self.loss_scaler.scale(loss)
        super().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip the gradients and update the parameters; skip it if float16 gradients overflow."""
        if self.dtype is not torch.float16:
            super().step(**kwargs)
            return
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and, for float16, that of the loss scaler as ``loss_scaler``."""
        state: dict[str, Any] = super().state_dict()
        if self.dtype is torch.float16:
            state["loss_scaler"] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        state = dict(state_dict)
        scale = state.pop("loss_scaler", None)
        if scale is not None and self.dtype is torch.float16:
            self.loss_scaler.load_state_dict(scale)
        super().load_state_dict(state)


def new_loss_scaler(device: str) -> torch.amp.GradScaler:
    """Create a loss scaler; with several processes, all of them skip the same steps."""
    if get_world_size() == 1:
        return torch.amp.GradScaler(device)
    from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

    return ShardedGradScaler(device)
