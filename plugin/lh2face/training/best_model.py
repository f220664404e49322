"""Keeping the weights of a training's best validation in a file, and loading them at its end."""

import json
import math
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from lh2face.artifacts.training_record import MEAN
from lh2face.distributed.checkpoint_files import sync, unfinished
from lh2face.recognizers.weight_names import weights_without_head
from lh2face.registry import HOOKS
from lh2face.training.validation import ValidationError

BEST = "best.safetensors"
ABOUT = "validation"  # key in the metadata of the safetensors file


@HOOKS.register_module()
class BestModelHook(Hook):  # type: ignore[misc]  # mmengine has no types
    """Keep the weights of the best validation in ``<work_dir>/best.safetensors``.

    The file has the weights of the model without its head, and no optimizer state. It is written to
    a temporary name, flushed to disk, and then renamed. A resumed run reads the best value so far
    from the file.

    Args:
        monitor: Name of the metric to maximise.

    Raises:
        ValidationError: If the config has no validation, or the validation has no such metric.
    """

    priority = "LOW"

    def __init__(self, monitor: str = f"{MEAN}/accuracy") -> None:
        self.monitor = monitor
        self.value: float | None = None  # best value so far; None before the training begins

    def before_train(self, runner: Any) -> None:
        """Read the best value so far.

        Raises:
            ValidationError: If the config has no validation.
        """
        if runner._val_loop is None:
            raise ValidationError(
                "BestModelHook: expected a val_dataloader, whose metrics choose the weights, found "
                "none; add one, or remove the hook"
            )
        kept: list[dict[str, Any] | None] = [None]
        if is_main_process():
            kept = [kept_best(Path(runner.work_dir))]
        broadcast_object_list(kept)
        self.value = kept[0]["value"] if kept[0] else -math.inf

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        """Save the weights if the metric is higher than in all earlier validations.

        Raises:
            ValidationError: If there is no such metric.
        """
        if self.value is None:
            return
        if self.monitor not in metrics:
            raise ValidationError(
                f"BestModelHook.monitor: found {self.monitor!r}, allowed are {', '.join(metrics)}"
            )
        value = metrics[self.monitor]
        if not value > self.value:
            return
        self.value = value
        if is_main_process():
            model = getattr(runner.model, "module", runner.model)
            weights = weights_without_head(model)
            about = {"step": runner.iter, "monitor": self.monitor, "value": value}
            path = Path(runner.work_dir) / BEST
            unfinished(path).write_bytes(save(weights, {ABOUT: json.dumps(about)}))
            sync(unfinished(path))
            unfinished(path).replace(path)
            sync(path.parent)


def kept_best(work_dir: Path) -> dict[str, Any] | None:
    """Read ``step``, ``monitor`` and ``value`` of the weights that :class:`BestModelHook` kept.

    Returns:
        The three values, or ``None`` if there is no file. A damaged file is deleted, and counts as
        none.
    """
    path = work_dir / BEST
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()[ABOUT])
            return about
    except (SafetensorError, TypeError, KeyError, ValueError):
        print(f"{path}: damaged and deleted; earlier best weights are lost", flush=True)
        path.unlink()
        return None


def take_best(model: nn.Module, work_dir: Path) -> dict[str, Any] | None:
    """Load the weights that :class:`BestModelHook` kept into a model, if there are any.

    Returns:
        ``step``, ``monitor`` and ``value`` of the weights, or ``None`` if there are none.
    """
    about = kept_best(work_dir)
    if about is not None:
        model.load_state_dict(load_file(work_dir / BEST), strict=False)
    return about
