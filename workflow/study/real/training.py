"""Training in memory, with the pipeline's models, losses and recipes, but without its files.

The start of a pipeline run takes longer than these short trainings. Networks, heads, optimizer,
clipping and transforms are those of the package; only the loop is written here.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import TRANSFORMS

import lh2face.register
from lh2face.recognizers import FaceRecognizer
from lh2face.reconstruction.trainer import ReconstructorTrainer
from lh2face.training.seeding import seed_generators

CONFIGS = Path(lh2face.__file__).parent / "configs"
RECIPE, RECONSTRUCTION = CONFIGS / "recognition.py", CONFIGS / "reconstruction.py"
# Factor on the learning rate at the first step, as in the recipe.
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
    joint: Mapping[str, Any] | None = None,
    fitted: Mapping[str, torch.Tensor] | None = None,
    landmarks: np.ndarray | None = None,
) -> FaceRecognizer:
    """Train a recognizer, alone or jointly with a reconstructor.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.
        labels: ``(N,)`` int64, 0 … C − 1.
        backbone: Config of the backbone.
        head: Config of the head, without its sizes.
        transforms: Configs of the random transforms of the images.
        epochs: Passes over the images.
        batch: Images per step.
        seed: Seed of initial weights, order and transforms.
        init: Initial weights of the backbone; ``None`` for random ones.
        rate: Learning rate; that of the recipe if ``None``.
        joint: The recognizer's arguments for joint training: ``reconstructor``, ``fusion`` and the
            weights of the losses.
        fitted: Initial weights of the reconstructor.
        landmarks: ``(N, 5, 2)`` in px of a crop of 112 × 112, for the transforms and the
            reconstructor.

    Returns:
        The model, in evaluation mode.

    Raises:
        FloatingPointError: If the loss becomes NaN or infinite.
    """
    seed_generators(seed)
    classes = {"num_classes": int(labels.max()) + 1, "in_channels": backbone["embedding_size"]}
    model = FaceRecognizer(backbone={**backbone}, head={**head, **classes}, **(joint or {}))
    if init is not None:
        model.backbone.load_state_dict(init)
    if fitted is not None:
        model.reconstructor.load_state_dict(fitted)
    settings = Config.fromfile(RECIPE).optim_wrapper
    if rate is not None:
        settings.optimizer.lr = rate
    faces = {"img": images} if landmarks is None else {"img": images, "landmarks": landmarks}
    optimize(
        model, faces, labels, settings=settings, transforms=transforms, epochs=epochs, batch=batch,
        seed=seed, warm_up=1,
    )  # fmt: skip
    return model.eval()


def fit_reconstructor(
    images: np.ndarray,
    landmarks: np.ndarray,
    *,
    config: Mapping[str, Any],
    transforms: Sequence[Mapping[str, Any]],
    epochs: int,
    seed: int,
) -> dict[str, torch.Tensor]:
    """Train a reconstructor without a recognizer, as stage ``fit3d`` does.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB, S the reconstructor's ``image_size``.
        landmarks: ``(N, 5, 2)`` in px of a crop of 112 × 112.
        config: Config of the reconstructor.
        transforms: Configs of the random transforms of the images.
        epochs: Passes over the images.
        seed: Seed of initial weights, order and transforms.

    Returns:
        The weights of the reconstructor.

    Raises:
        FloatingPointError: If the loss becomes NaN or infinite.
    """
    seed_generators(seed)
    model = ReconstructorTrainer(reconstructor={**config})
    recipe = Config.fromfile(RECONSTRUCTION)
    optimize(
        model, {"img": images, "landmarks": landmarks}, np.zeros(len(images), np.int64),
        settings=recipe.optim_wrapper, transforms=transforms, epochs=epochs,
        batch=recipe.train_dataloader.batch_size, seed=seed, warm_up=0,
    )  # fmt: skip
    weights: dict[str, torch.Tensor] = model.reconstructor.state_dict()
    return weights


def optimize(
    model: FaceRecognizer | ReconstructorTrainer,
    faces: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    settings: Any,
    transforms: Sequence[Mapping[str, Any]],
    epochs: int,
    batch: int,
    seed: int,
    warm_up: int,
) -> None:
    """Minimise a model's loss on faces, on the GPU if there is one.

    Args:
        model: The model.
        faces: ``img`` ``(N, S, S, 3)`` uint8 RGB, and perhaps ``landmarks`` ``(N, 5, 2)``.
        labels: ``(N,)`` int64.
        settings: Config of the optimizer.
        transforms: Configs of the random transforms of the images.
        epochs: Passes over the images.
        batch: Images per step.
        seed: Seed of order and transforms.
        warm_up: Number of epochs in which the learning rate rises.

    Raises:
        FloatingPointError: If the loss becomes NaN or infinite.
    """
    # Otherwise mmengine would log every parameter of the model.
    MMLogger.get_instance("study", log_level="WARNING")
    model.to(get_device())
    settings.optimizer.fused = True
    optimizer = build_optim_wrapper(model, settings)
    rates = [group["lr"] for group in optimizer.param_groups]
    changes = [TRANSFORMS.build(one) for one in transforms]
    steps = len(labels) // batch
    model.train()
    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(labels))
        for step in range(steps):
            at = rate_factor(step + epoch * steps, warm_up * steps, epochs * steps)
            for group, full in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = full * at
            rows = order[step * batch : (step + 1) * batch]
            drawn = [
                changed({key: of[row] for key, of in faces.items()}, changes, (seed, epoch, row))
                for row in rows
            ]
            data = {key: torch.from_numpy(np.stack([one[key] for one in drawn])) for key in faces}
            data["inputs"] = data.pop("img").permute(0, 3, 1, 2)
            data["label"] = torch.from_numpy(labels[rows])
            terms = model(**model.data_preprocessor(data), mode="loss")
            loss = sum(term for name, term in terms.items() if "loss" in name)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"epoch {epoch}, step {step}: the loss is {loss.item()}")
            optimizer.update_params(loss)


def changed(
    face: dict[str, Any], transforms: Sequence[Any], entropy: tuple[int, ...]
) -> dict[str, Any]:
    """Apply random transforms to a face: ``img``, and perhaps ``landmarks``.

    They draw from a generator that is seeded with ``entropy``.
    """
    results = {**face, "rng": np.random.default_rng(entropy)}
    for transform in transforms:
        results = transform(results)
    return results


def rate_factor(step: int, warm_up: int, last: int) -> float:
    """Compute the factor on the learning rate: a linear rise, then half a cosine down to 0."""
    if step < warm_up:
        return START + (1 - START) * step / warm_up
    return (1 + math.cos(math.pi * (step - warm_up) / max(last - warm_up, 1))) / 2
