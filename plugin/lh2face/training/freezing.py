"""Freezing of parts of a model during training."""

import gc
from typing import Any

from mmengine.hooks import Hook
from torch import nn

from lh2face.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Freeze modules of a model, so that their parameters and running statistics do not change.

    There is one exception: the mean norm of a new ``LH2FaceHead`` has no value yet, so the first
    batch sets it.

    The optimizer skips parameters without gradients, so weight decay does not change them either.
    If modules are frozen for some epochs only, they are trained from the next epoch on, with the
    learning rate of the schedule at that time.

    Args:
        parts: Names of modules of the model, such as ``"backbone"`` or ``"backbone.layer1"``.
        epochs: Number of the first epochs, in which the modules are frozen; ``None`` for all.

    Raises:
        ValueError: If the model has no module of such a name, or no parameter is left to train.

    Example:
        ``custom_hooks = [dict(type="FreezeHook", parts=["backbone"], epochs=1)]``
    """

    priority = "HIGH"

    def __init__(self, parts: list[str], epochs: int | None = None) -> None:
        self.parts = parts
        self.epochs = epochs
        # The parameters that are frozen now and would train otherwise.
        self.held: list[nn.Parameter] = []

    def before_run(self, runner: Any) -> None:
        """Look up the modules to freeze.

        Raises:
            ValueError: If the model has no module of that name.
        """
        model = _unwrapped(runner)
        named = dict(model.named_modules())
        for part in self.parts:
            if part not in named or not part:
                allowed = ", ".join(name for name, _ in model.named_children())
                raise ValueError(
                    f"FreezeHook.parts: found {part!r:.100}, allowed are {allowed}, and modules "
                    "inside them"
                )
        self.modules = [named[part] for part in self.parts]

    def before_train_epoch(self, runner: Any) -> None:
        """Freeze the modules, or let them train again.

        Raises:
            ValueError: If no parameter is left to train.
        """
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
            # DistributedDataParallel waits for the gradients of all parameters that required one
            # when it was created. So the model is wrapped again.
            runner.model = model
            gc.collect()
            runner.model = runner.wrap_model(runner.cfg.get("model_wrapper_cfg"), model)
            runner._maybe_compile("train_step")

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Put frozen modules into eval mode again, which an epoch or a validation switches off."""
        for part in self.modules:
            if self.held and part.training:
                part.eval()


def _unwrapped(runner: Any) -> nn.Module:
    model: nn.Module = getattr(runner.model, "module", runner.model)
    return model
