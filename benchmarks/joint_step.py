"""Compare the time of a joint training step with a naive step that repeats reconstructions.

    python benchmarks/joint_step.py [--full] [--batch 64] [--steps 8]

The naive step computes each part of the loss separately. It runs the whole reconstructor, with
rendering, for the canonical face, for the reconstruction loss, and for the mirrored view. It
computes normals and the networks' layers with PyTorch's general operators. Both steps have the same
loss, and they alternate. Times are processor times, on which other work on the machine has little
effect. ``--full`` uses the sizes of ``params/full.yaml`` instead of those of ``params.yaml``.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import lh2face.register  # noqa: F401
from lh2face.functional.view import view_consistency_loss
from lh2face.recognizers.face_recognizer import FaceRecognizer
from lh2face.reconstruction.base import Reconstructor
from lh2face.reconstruction.losses import confidence_l1
from lh2face.reconstruction.networks import FewMaps, FromVector, ToVector
from lh2face.registry import MODELS
from lh2face.rendering import back_project, lambert_shading, shade
from lh2face.training.memory import reuse_freed_memory

DEFAULT = {
    "backbone": {"type": "MobileFaceNet", "embedding_size": 128, "width": 0.5, "image_size": 48},
    "head": {"type": "LH2FaceHead", "vmf_dim": 64, "num_classes": 160, "in_channels": 128},
    "reconstructor": {"type": "Unsup3DReconstructor", "image_size": 32},
}
FULL = {
    "backbone": {"type": "IResNet", "depth": 50, "embedding_size": 512, "image_size": 112},
    "head": {"type": "LH2FaceHead", "vmf_dim": 256, "num_classes": 4000, "in_channels": 512},
    "reconstructor": {"type": "Unsup3DReconstructor", "image_size": 64, "width": 32},
}
WEIGHTS = {"reco_weight": 0.1, "canon_weight": 0.1, "view_weight": 0.1}


def plain_layers(module: nn.Module) -> None:
    """Replace the reconstructor's layers by PyTorch's own, with the same weights."""
    for name, child in module.named_children():
        if isinstance(child, FewMaps | ToVector | FromVector):
            base = nn.ConvTranspose2d if isinstance(child, FromVector) else nn.Conv2d
            layer = base(
                child.in_channels, child.out_channels, child.kernel_size, padding=child.padding
            )
            layer.load_state_dict(child.state_dict())
            setattr(module, name, layer)
        plain_layers(child)


def normals(depth: Tensor) -> Tensor:
    """Compute unit normals ``(B, 3, S, S)`` with PyTorch's cross product and norm."""
    points = back_project(depth)
    x = F.pad(points, (1, 1, 0, 0), mode="replicate").diff(dim=-1)
    y = F.pad(points, (0, 0, 1, 1), mode="replicate").diff(dim=-2)
    across = x[..., 1:] + x[..., :-1], y[..., 1:, :] + y[..., :-1, :]
    return F.normalize(torch.linalg.cross(*across, dim=1), dim=1)


def take_apart(model: Reconstructor, images: Tensor) -> tuple:
    """Predict depth, albedo, light, view and the loss terms; return them and their rendering."""
    depth, albedo, terms = model.canonical(images)
    light, view = model.light_of(images), model.view_network(images) * model.view_range
    return depth, albedo, light, view, terms, put_together(model, depth, albedo, light, view)


def put_together(model: Reconstructor, *parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shade the canonical face and render it; return the shaded face, the image and its mask."""
    depth, albedo, light, view = parts
    shaded = shade(albedo, lambert_shading(normals(depth), light))
    return (shaded, *model.renderer.render(shaded, model.surface(depth), view))


def reconstruction_loss(model: Reconstructor, images: Tensor) -> Tensor:
    """Compute the reconstructor's loss, starting from the images."""
    depth, albedo, light, view, terms, (_, image, mask) = take_apart(model, images)
    _, flipped, flipped_mask = put_together(model, depth.flip(2), albedo.flip(3), light, view)
    sigma = F.softplus(model.confidence_network(images))
    return (
        confidence_l1(image, images, mask, sigma[:, :1])
        + model.flip_weight * confidence_l1(flipped, images, flipped_mask, sigma[:, 1:])
        + model.view_prior * (view / model.view_range).square().mean()
        + sum(terms.values())
    )


def naive_loss(model: FaceRecognizer, images: Tensor, labels: Tensor) -> Tensor:
    """Compute the joint loss without fusion, with separate passes for each term."""
    size = images.shape[-1]
    small = model.to_reconstructor(images)
    _, _, _, view, _, (shaded, _, _) = take_apart(model.reconstructor, small)
    canonical = F.interpolate(shaded.clamp(-1, 1), (size, size), mode="bilinear", antialias=True)
    both = torch.cat([images, canonical]).contiguous(memory_format=torch.channels_last)
    losses = [
        sum(value for name, value in model.head.loss(part, labels).items() if "loss" in name)
        for part in model.backbone(both).chunk(2)[::-1]
    ]
    _, _, _, of_mirrored, _, _ = take_apart(model.reconstructor, small.flip(3))
    asymmetry = view_consistency_loss(view, of_mirrored, model.weights["view_prior"])
    reco = reconstruction_loss(model.reconstructor, small)
    return losses[1] + 0.1 * (losses[0] + reco + asymmetry)


def joint_loss(model: FaceRecognizer, images: Tensor, labels: Tensor) -> Tensor:
    """Compute the joint loss as the package does in training."""
    terms = model(images, labels, mode="loss")
    return sum(value for name, value in terms.items() if "loss" in name)


def processor_seconds(model: FaceRecognizer, loss, *batch: Tensor) -> tuple[float, float]:
    """Measure the processor seconds of one step, forward and backward; return them and the loss."""
    model.zero_grad(set_to_none=True)
    start = time.process_time()
    value = loss(model, *batch)
    value.backward()
    return time.process_time() - start, value.item()


def main() -> None:
    """Print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    reuse_freed_memory()
    torch.manual_seed(0)
    config = {"type": "FaceRecognizer", **WEIGHTS, **(FULL if arguments.full else DEFAULT)}
    batch, size = arguments.batch or (4 if arguments.full else 64), config["backbone"]["image_size"]
    model, naive = MODELS.build(config).train(), MODELS.build(config).train()
    naive.load_state_dict(model.state_dict())
    plain_layers(naive.reconstructor)
    images = (torch.rand(batch, 3, size, size) * 2 - 1).contiguous(
        memory_format=torch.channels_last
    )
    inputs = images, torch.arange(batch) % config["head"]["num_classes"]
    times = []
    for step in range(arguments.steps + 1):
        pair = (
            processor_seconds(naive, naive_loss, *inputs),
            processor_seconds(model, joint_loss, *inputs),
        )
        losses = [loss for _, loss in pair]
        if abs(losses[0] - losses[1]) > 1e-3 * abs(losses[0]):
            raise SystemExit(f"the losses differ: {losses}")
        if step:  # the first step is a warm-up
            times.append([seconds for seconds, _ in pair])
    table = Table(f"batch of {batch}, {size} px", "processor ms, median of steps")
    for name, column in zip(
        ("separate passes", "joint step"), zip(*times, strict=True), strict=True
    ):
        table.add_row(name, f"{1e3 * statistics.median(column):.0f}")
    ratio = statistics.median(ours / theirs for theirs, ours in times)
    table.add_row("ratio", f"{ratio:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
