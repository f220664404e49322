"""One training in memory, with the pipeline's model, losses and recipe, but without its files.

The start of a pipeline run takes longer than these short trainings. The network, the heads, the
optimizer, the clipping and the transforms are those of the package; only the loop is written here.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import TRANSFORMS

import lh2face.register
from lh2face.recognizers import FaceRecognizer
from lh2face.training.seeding import seed_generators

RECIPE = Path(lh2face.__file__).parent / "configs" / "recognition.py"
# Share of the learning rate at the first step, as in the recipe.
START = 0.01


def train(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    backbone: Mapping[str, Any],
    head: Mapping[str, Any],
    transforms: Sequence[Mapping[str, Any]],
    epochs: int,
    batch: int,
    seed: int,
    init: Mapping[str, torch.Tensor] | None = None,
    rate: float | None = None,
) -> FaceRecognizer:
    """Train a recognizer.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.
        labels: ``(N,)`` int64, 0 … C − 1.
        backbone: Config of the backbone.
        head: Config of the head, without its sizes.
        transforms: Configs of the random transforms of the images.
        epochs: Passes over the images.
        batch: Images a step.
        seed: Of initial weights, order and transforms.
        init: Weights of the backbone to begin from; ``None`` for random ones.
        rate: Learning rate; that of the recipe if ``None``.

    Returns:
        The model, in evaluation mode.

    Raises:
        FloatingPointError: If the loss becomes NaN or infinite.
    """
    MMLogger.get_instance("study", log_level="WARNING")  # it lists every parameter otherwise
    seed_generators(seed)
    classes = {"num_classes": int(labels.max()) + 1, "in_channels": backbone["embedding_size"]}
    model = FaceRecognizer(backbone={**backbone}, head={**head, **classes})
    if init is not None:
        model.backbone.load_state_dict(init)
    settings = Config.fromfile(RECIPE).optim_wrapper
    if rate is not None:
        settings.optimizer.lr = rate
    settings.optimizer.fused = True
    optimizer = build_optim_wrapper(model, settings)
    rates = [group["lr"] for group in optimizer.param_groups]
    changes = [TRANSFORMS.build(one) for one in transforms]
    steps = len(images) // batch
    model.train()
    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(images))
        for step in range(steps):
            at = rate_factor(step + epoch * steps, steps, epochs * steps)
            for group, full in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = full * at
            rows = order[step * batch : (step + 1) * batch]
            pixels = np.stack([changed(images[row], changes, (seed, epoch, row)) for row in rows])
            data = {
                "inputs": torch.from_numpy(pixels).permute(0, 3, 1, 2),
                "label": torch.from_numpy(labels[rows]),
            }
            inputs = model.data_preprocessor(data)
            terms = model.loss(inputs["inputs"], inputs["label"])
            loss = sum(term for name, term in terms.items() if "loss" in name)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"epoch {epoch}, step {step}: the loss is {loss.item()}")
            optimizer.update_params(loss)
    return model.eval()


def changed(image: np.ndarray, transforms: Sequence[Any], entropy: tuple[int, ...]) -> np.ndarray:
    """Apply random transforms to an image; they draw from the image's own generator."""
    results = {"img": image, "rng": np.random.default_rng(entropy)}
    for transform in transforms:
        results = transform(results)
    return results["img"]


def rate_factor(step: int, epoch: int, last: int) -> float:
    """Share of the learning rate: rising through the first epoch, then half a cosine to zero."""
    if step < epoch:
        return START + (1 - START) * step / epoch
    return (1 + math.cos(math.pi * (step - epoch) / max(last - epoch, 1))) / 2
