"""Parts of a model that stay as they are while the others train."""

import gc
from typing import Any

from mmengine.hooks import Hook
from torch import nn

from lh2face.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """Give parts of a model neither gradients nor new batch-norm statistics.

    The optimizer leaves parameters without gradients alone, weight decay included. A part that
    stays frozen for some epochs trains from the next one on, by the rate that is then due.

    Args:
        parts: Names of modules of the model, such as ``"backbone"`` or ``"backbone.layer1"``.
        epochs: For how many epochs from the first; ``None`` for all of them.

    Raises:
        ValueError: If there is no such part, or nothing is left to train.

    Example:
        ``custom_hooks = [dict(type="FreezeHook", parts=["backbone"], epochs=1)]``
    """

    priority = "HIGH"

    def __init__(self, parts: list[str], epochs: int | None = None) -> None:
        self.parts = parts
        self.epochs = epochs
        # The parameters that would train, while they do not.
        self.held: list[nn.Parameter] = []

    def before_run(self, runner: Any) -> None:
        """Find the parts."""
        model = _unwrapped(runner)
        named = dict(model.named_modules())
        for part in self.parts:
            if part not in named or not part:
                allowed = ", ".join(name for name, _ in model.named_children())
                raise ValueError(
                    f"FreezeHook.parts: found {part!r:.100}, allowed are {allowed}, and what is in "
                    "them"
                )
        self.modules = [named[part] for part in self.parts]

    def before_train_epoch(self, runner: Any) -> None:
        """Freeze the parts, or let them train."""
        frozen = self.epochs is None or runner.epoch < self.epochs
        if frozen == bool(self.held):
            return
        changed = self.held or [
            weight for part in self.modules for weight in part.parameters() if weight.requires_grad
        ]
        for weight in changed:
            weight.requires_grad_(not frozen)
            weight.grad = None
        self.held = changed if frozen else []
        model = _unwrapped(runner)
        if not any(weight.requires_grad for weight in model.parameters()):
            raise ValueError(f"FreezeHook.parts: {self.parts} leave nothing to train")
        if runner.model is not model:
            # DistributedDataParallel waits for the gradients that there were when it was made.
            runner.model = model
            gc.collect()
            runner.model = runner.wrap_model(runner.cfg.get("model_wrapper_cfg"), model)
            runner._maybe_compile("train_step")

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the statistics of batch normalisation: each epoch and validation sets them free."""
        for part in self.modules:
            if self.held and part.training:
                part.eval()


def _unwrapped(runner: Any) -> nn.Module:
    model: nn.Module = getattr(runner.model, "module", runner.model)
    return model
