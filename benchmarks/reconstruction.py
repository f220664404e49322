"""Measure depth errors of all reconstructors, and how joint training changes canonical faces.

    python benchmarks/reconstruction.py [--steps 3000] [--size 64] [--data data] [--runs runs]

Each reconstructor is trained on the pipeline's aligned faces (``dvc repro align align_benchmark``)
with the recipe of stage ``fit3d``, and its depth is measured on the benchmark ``people``. The other
rows are those of Unsup3D's table: a constant depth, the average depth, and a network of the same
kind that is trained with the true depth of other photographs.

If ``--runs`` has a jointly trained recognizer, a second table shows the similarity that it finds
between a frontal photo and the canonical face of a profile photo of the same person. The canonical
faces are those of the reconstructor before and after joint training.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from lh2face.artifacts.model import load_model, read_description
from lh2face.configs import RECONSTRUCTION
from lh2face.data.align import norm_crop
from lh2face.data.benchmark import Benchmark, read_benchmark
from lh2face.data.images import decode_rgb
from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import photograph, random_scene
from lh2face.functional.resize import resize
from lh2face.recognizers.preprocessor import normalize_images
from lh2face.reconstruction.networks import EncoderDecoder
from lh2face.runs.injection import add_training_faces
from lh2face.stages.align_benchmark import aligned_depth
from lh2face.stages.depth import depth_errors, read_faces
from lh2face.tools.reconstruct import load_reconstructor
from lh2face.training.memory import reuse_freed_memory
from lh2face.training.recipe import load_recipe

SHOTS = 6
WAYS = ["Unsup3DReconstructor", "Linear3DMMReconstructor", "supervised"]


class Supervised(nn.Module):
    """Network that predicts the depth in the input's view; it is trained with the true depth."""

    def __init__(self, image_size: int, width: int = 16) -> None:
        super().__init__()
        self.image_size = image_size
        self.network = EncoderDecoder(image_size, 1, width)

    def forward(self, images: Tensor) -> Tensor:
        return 1 + 0.2 * self.network(images)[:, 0].tanh()

    def seen_depth(self, face: Tensor) -> tuple[Tensor, Tensor]:
        return face, torch.ones_like(face, dtype=torch.bool)


def true_faces(people: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make aligned photographs of people who are in no data set.

    Returns:
        Images ``(N, 3, S, S)`` uint8, depths ``(N, S, S)``, and bool masks of the known depth.
    """
    rng = np.random.default_rng(7_654_321)
    images, depths, masks = [], [], []
    for _ in track(range(people), "photographing"):
        seeds = np.random.SeedSequence(int(rng.integers(2**60))).spawn(SHOTS)
        scenes = [random_scene("any", rng, seed) for seed in seeds]
        for photo in photograph(sample_identity(rng), scenes, 128):
            picture = decode_rgb(photo.jpeg, None, "photo")
            crop = cv2.resize(norm_crop(picture, photo.landmarks), (size, size), interpolation=3)
            depth, known = aligned_depth(photo.depth, photo.landmarks)
            images.append(crop.transpose(2, 0, 1))
            depths.append(cv2.resize(depth, (size, size), interpolation=cv2.INTER_AREA))
            small = cv2.resize(known.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
            masks.append(small > 0.99)
    stacks = (np.stack(images), np.stack(depths).astype(np.float32), np.stack(masks))
    return tuple(map(torch.from_numpy, stacks))


def train_supervised(size: int, steps: int, batch: int, lr: float) -> nn.Module:
    """Train a network with the L1 loss of the depth and of its differences between pixels.

    The mean error over a face is subtracted first, so that only the shape counts.
    """
    images, depth, mask = true_faces(steps // 10 + 50, size)
    model = Supervised(size)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in track(range(steps), "supervised"):
        rows = torch.randint(len(images), (batch,))
        on = mask[rows].float()
        wrong = model(normalize_images(images[rows])) - depth[rows].nan_to_num(1.0)
        shift = (wrong * on).sum((1, 2), keepdim=True) / on.sum((1, 2), keepdim=True).clamp_min(1)
        loss = ((wrong - shift).abs() * on).mean()
        for axis in (1, 2):
            both = on.narrow(axis, 1, size - 1) * on.narrow(axis, 0, size - 1)
            loss = loss + 4 * (wrong.diff(dim=axis).abs() * both).mean()
        optimizer.zero_grad(set_to_none=True)
        (10 * loss).backward()
        optimizer.step()
        schedule.step()
    return model


def fitted(reconstructor: dict, data: Path, steps: int, batch: int, lr: float) -> nn.Module:
    """Train a reconstructor by the recipe of stage ``fit3d``, for about ``steps`` steps."""
    faces = data / "aligned" / "training" / "sources"
    options = {"train_dataloader.batch_size": batch, "optim_wrapper.optimizer.lr": lr}
    config = load_recipe(RECONSTRUCTION, options)
    config.model.reconstructor = reconstructor
    images = len(add_training_faces(config, "fit3d", faces, reconstructor["image_size"], seed=0))
    config.train_cfg.max_epochs = max(1, round(steps * batch / images))
    with TemporaryDirectory() as folder:
        runner = Runner.from_cfg({**config, "work_dir": folder})
        runner.train()
    return runner.model.reconstructor


@torch.no_grad()
def frontalisation(benchmark: Benchmark, runs: Path, head: str) -> dict[str, tuple[float, float]]:
    """Measure with a joint recognizer how similar frontal photos and frontalised profiles are.

    Returns:
        Two mean cosines for a profile photo, for its canonical face by the reconstructor before
        joint training, and for that after it. The first is with a frontal photo of the same person,
        the second with a frontal photo of another person.
    """
    pairs = benchmark.pairs["profile"]
    folder = runs / head / "0" / "model"
    recognizer = load_model(folder)
    size = read_description(folder)["image_size"]

    def read(rows: np.ndarray) -> Tensor:
        return read_faces(benchmark, rows[pairs.same].tolist(), size, torch.device("cpu"))

    def canonical(reconstructor: nn.Module) -> Tensor:
        face = reconstructor(resize(profiles, reconstructor.image_size))
        return resize(face.canonical, size)

    frontal, profiles = read(pairs.first), read(pairs.second)
    embed = recognizer.backbone
    shown = {
        "profile photo": profiles,
        "canonical, before joint training": canonical(load_reconstructor(runs / "fit3d").eval()),
        "canonical, after": canonical(recognizer.reconstructor),
    }
    own = embed(frontal)
    found = {}
    for name, pictures in shown.items():
        embeddings = embed(pictures)
        similar = [F.cosine_similarity(photo, embeddings).mean() for photo in (own, own.roll(1, 0))]
        found[name] = similar[0].item(), similar[1].item()
    return found


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--head", default="lh2face_joint")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    arguments = parser.parse_args()
    reuse_freed_memory()
    budget = arguments.steps, arguments.batch, arguments.lr
    table = Table(
        f"{arguments.size} px, about {arguments.steps} steps", "SIDE · 10²", "MAD, °", "s"
    )
    benchmark, rows = read_benchmark(arguments.data / "aligned" / "benchmarks" / "people"), {}
    for name in arguments.ways:
        torch.manual_seed(0)
        start = time.perf_counter()
        if name == "supervised":
            model = train_supervised(arguments.size, *budget).eval()
        else:
            config = {"type": name, "image_size": arguments.size}
            model = fitted(config, arguments.data, *budget).eval()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            errors = depth_errors(model, benchmark, torch.device("cpu"))
        rows = {**rows, **errors, name: errors["ours"] | {"s": seconds}}
        rows.pop("ours")
    for name, row in rows.items():
        spent = f"{row['s']:.0f}" if "s" in row else ""
        table.add_row(name, f"{row['SIDE']:.3f}", f"{row['MAD']:.2f}", spent)
    console = Console()
    console.print(table)
    if (arguments.runs / arguments.head / "0" / "model").is_dir():
        found = frontalisation(benchmark, arguments.runs, arguments.head)
        table = Table("mean cosine with a frontal photo", "of the person", "of another")
        for name, cosines in found.items():
            table.add_row(name, *(f"{cosine:.3f}" for cosine in cosines))
        console.print(table)


if __name__ == "__main__":
    main()
