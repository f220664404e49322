"""Stage ``fit3d``: train the reconstructor on the aligned faces, and measure it where truth is."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lh2face.artifacts.model import DESCRIPTION, RECONSTRUCTOR_WEIGHTS, write_weights
from lh2face.artifacts.outputs import atomic_dir, check_output
from lh2face.artifacts.provenance import provenance
from lh2face.data.arrays import read_arrays
from lh2face.data.benchmark import Benchmark, read_benchmarks
from lh2face.data.datasets import RecordFaces
from lh2face.data.images import decode_rgb
from lh2face.data.records import face_digests
from lh2face.progress import track
from lh2face.recognizers.face_recognizer import resize
from lh2face.reconstruction import Reconstruction
from lh2face.reconstruction.metrics import mean_angle_deviation, scale_invariant_depth_error
from lh2face.registry import build
from lh2face.rendering import normals_from_depth
from lh2face.stages.memory import peak_memory, reuse_freed_memory
from lh2face.text import check_utf8

if TYPE_CHECKING:
    from lh2face.stages.params import Params

SAMPLES = 6
TURNS = range(-60, 61, 5)  # degrees


def run(params: "Params", aligned: Path, benchmarks: Path, out: Path) -> None:
    """Write ``reconstructor.safetensors``, ``model.json``, ``metrics.json``, ``samples.npz``.

    Args:
        params: The parameters; ``fit3d`` is read.
        aligned: Folder of training faces, or with several such folders.
        benchmarks: Folder with the folders of stage ``align_benchmark``. The first with true depth
            says what the reconstructor is worth; sample faces are of the first.
        out: Folder to write.

    Raises:
        ValueError: If there is no benchmark, or as for the training faces.
    """
    check_utf8(out)
    check_output(out, [aligned, benchmarks])
    fit = params.fit3d
    reuse_freed_memory()
    torch.manual_seed(fit.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build("reconstructor", fit.reconstructor, "fit3d.reconstructor").to(device)
    tests = read_benchmarks(benchmarks)
    faces = RecordFaces(str(aligned), image_size=model.image_size, mirror=0.0)
    start = time.perf_counter()
    final = train(model, faces, steps=fit.steps, batch_size=fit.batch_size, lr=fit.lr)
    metrics = {
        "steps": fit.steps,
        "seconds": round(time.perf_counter() - start, 3),
        "peak_memory_mib": peak_memory(),
        **final,
    }
    model.eval()
    with torch.no_grad(), atomic_dir(out) as folder:
        with_truth = [test for test in tests.values() if test.truth is not None]
        if with_truth:
            metrics |= depth_errors(model, with_truth[0], device)
        np.savez_compressed(
            folder / "samples.npz", **samples(model, next(iter(tests.values())), device)
        )
        write_weights(folder / RECONSTRUCTOR_WEIGHTS, model.state_dict())
        description = {
            "reconstructor": fit.reconstructor,
            "image_size": model.image_size,
            "provenance": provenance(
                params=fit.model_dump(), data=face_digests(aligned), seed=fit.seed
            ),
        }
        (folder / DESCRIPTION).write_text(
            json.dumps(description, indent=2) + "\n", encoding="utf-8"
        )
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def train(
    model: nn.Module, faces: Sequence[dict[str, Any]], *, steps: int, batch_size: int, lr: float
) -> dict[str, float]:
    """Adam over random batches, mirrored at random; the loss terms of the last step.

    Args:
        model: The reconstructor.
        faces: Of each face ``inputs`` ``(3, S, S)`` uint8.
        steps: Optimiser steps.
        batch_size: Images a step.
        lr: Learning rate; it falls to 0 along a cosine.

    Raises:
        ValueError: If the loss becomes NaN or infinite.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, betas=(0.9, 0.999), weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    device = next(model.parameters()).device
    terms: dict[str, Tensor] = {}
    for step in track(range(1, steps + 1), "fitting the reconstructor"):
        rows = torch.randint(len(faces), (batch_size,), device=device)
        batch = torch.stack([faces[row]["inputs"] for row in rows.tolist()]).to(device)
        mirrored = torch.rand(batch_size, 1, 1, 1, device=device) < 0.5
        batch = normalized(torch.where(mirrored, batch.flip(3), batch))
        terms = model.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        loss = sum(terms.values(), torch.zeros((), device=device))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not (loss + norm).isfinite():
            raise ValueError(
                f"fitting the reconstructor stopped at step {step}: loss {loss.item():.4g}, norm "
                f"of the gradient {norm.item():.4g}; fit3d.lr: found {lr}, try a smaller one"
            )
        optimizer.step()
        schedule.step()
    return {name: term.item() for name, term in terms.items()}


def normalized(images: Tensor) -> Tensor:
    """uint8 to [−1, 1]."""
    return images.float() / 127.5 - 1


def read_faces(benchmark: Benchmark, rows: list[int], size: int, device: torch.device) -> Tensor:
    """Faces of a benchmark by row, ``(N, 3, size, size)`` in [−1, 1]."""
    faces = benchmark.faces
    images = [decode_rgb(faces[row + 1][1], size, f"{faces.path}: key {row + 1}") for row in rows]
    return normalized(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device))


def depth_errors(model: nn.Module, benchmark: Benchmark, device: torch.device) -> dict[str, object]:
    """SIDE (·10⁻²) and MAD (degrees) in the input view, beside constant and average depth."""
    truth = read_arrays(benchmark.truth, "index", "depth", "mask")
    size = model.image_size
    images = read_faces(benchmark, truth["index"].tolist(), size, device)
    depth = resize(torch.from_numpy(truth["depth"]).to(device)[:, None].float(), size)[:, 0]
    mask = resize(torch.from_numpy(truth["mask"]).to(device)[:, None].float(), size)[:, 0] > 0.99
    face = model(images)
    seen, covered = model.seen_depth(face)
    seen = torch.where(covered, seen, 1.0)
    inside = mask.float()
    average = (depth * inside).sum(0) / inside.sum(0).clamp_min(1)
    average = torch.where(inside.sum(0) > 0, average, depth[mask].mean())
    rows = {
        "ours": (seen, mask & covered),
        "average depth": (average.expand_as(depth), mask),
        "constant depth": (torch.ones_like(depth), mask),
    }
    return {
        name: {
            "SIDE": round(100 * scale_invariant_depth_error(guess, depth, on).mean().item(), 3),
            "MAD": round(mean_angle_deviation(guess, depth, on).mean().item(), 2),
        }
        for name, (guess, on) in rows.items()
    }


def samples(model: nn.Module, benchmark: Benchmark, device: torch.device) -> dict[str, np.ndarray]:
    """Pictures of a few faces, uint8: ``(N, S, S[, 3])``, turned views ``(N, V, S, S, 3)``, and
    ``turns``, the V angles in degrees."""
    rows = np.linspace(0, len(benchmark.faces) - 1, SAMPLES).astype(int).tolist()
    images = read_faces(benchmark, rows, model.image_size, device)
    face = model(images)
    views = torch.zeros(len(TURNS), 6, device=device)
    views[:, 1] = torch.tensor(TURNS, device=device).deg2rad()
    turned = [model.turned(face, view.expand(len(images), 6)) for view in views]
    normals = normals_from_depth(face.depth) * images.new_tensor([1, 1, -1])[:, None, None]
    return {
        "input": pixels(images),
        "canonical": pixels(face.canonical),
        "depth": relief(model, face),
        "normals": pixels(normals),
        "re-rendered": pixels(face.image),
        "turned": np.stack([pixels(t) for t in turned], axis=1),
        "turns": np.array(TURNS),
    }


def relief(model: nn.Module, face: Reconstruction) -> np.ndarray:
    """Canonical depth as ``(N, S, S)`` uint8, near is bright."""
    near = (model.max_depth - face.depth) / (model.max_depth - model.min_depth)
    return (near * 255).clamp(0, 255).byte().cpu().numpy()


def pixels(images: Tensor) -> np.ndarray:
    """``(N, 3, S, S)`` in [−1, 1] to ``(N, S, S, 3)`` uint8."""
    return ((images + 1) * 127.5).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
