"""Stage ``depth``: errors and pictures of the reconstructor on faces of the benchmarks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lh2face.artifacts.file_names import METRICS
from lh2face.artifacts.model import load_reconstructor
from lh2face.data.benchmark import Benchmark, read_benchmark
from lh2face.data.images import decode_rgb
from lh2face.files.arrays import read_arrays
from lh2face.files.outputs import atomic_dir
from lh2face.functional.resize import resize
from lh2face.recognizers.preprocessor import normalize_images
from lh2face.reconstruction import Reconstructor
from lh2face.reconstruction.metrics import mean_angle_deviation, scale_invariant_depth_error
from lh2face.reconstruction.pictures import pixels, relief
from lh2face.rendering import normals_from_depth

if TYPE_CHECKING:
    from lh2face.params import Params

SAMPLES = 6
TURNS = range(-60, 61, 5)  # degrees


def run(params: "Params", reconstructor: Path, benchmarks: Path, out: Path) -> None:
    """Write ``metrics.json`` and ``samples.npz``.

    The errors are measured on the first benchmark with true depth; without one, ``metrics.json``
    is empty. The sample faces are from the first benchmark.

    Args:
        params: The parameters; ``compare.benchmarks`` is read.
        reconstructor: Folder of stage ``fit3d``.
        benchmarks: Folder with the folders of stage ``align_benchmark``.
        out: Folder to write.

    Raises:
        ValueError: If a benchmark is missing, or the reconstructor cannot be loaded.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_reconstructor(reconstructor).eval().to(device)
    tests = [read_benchmark(benchmarks / name) for name in params.compare.benchmarks]
    with torch.no_grad(), atomic_dir(out, [reconstructor, benchmarks]) as folder:
        with_truth = next((test for test in tests if test.truth is not None), None)
        metrics = {} if with_truth is None else depth_errors(model, with_truth, device)
        # Any, because mypy takes every name for a possible option of NumPy's function.
        pictures: dict[str, Any] = {**samples(model.enlarged(), tests[0], device)}
        np.savez_compressed(folder / "samples.npz", **pictures)
        (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def read_faces(benchmark: Benchmark, rows: list[int], size: int, device: torch.device) -> Tensor:
    """Read the faces in these rows of a benchmark, ``(N, 3, size, size)`` in [−1, 1]."""
    faces = benchmark.faces
    images = [decode_rgb(faces[row + 1][1], size, f"{faces.path}: key {row + 1}") for row in rows]
    return normalize_images(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device))


def depth_errors(
    model: Reconstructor, benchmark: Benchmark, device: torch.device
) -> dict[str, object]:
    """Compute SIDE (·10⁻²) and MAD (degrees) in the input view, by the name of the depth.

    The baselines are the average true depth and a constant depth.

    Raises:
        ValueError: If the benchmark has no true depth.
    """
    if benchmark.truth is None:
        raise ValueError(f"{benchmark.folder}: has no true depth")
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


def samples(
    model: Reconstructor, benchmark: Benchmark, device: torch.device
) -> dict[str, np.ndarray]:
    """Make pictures of a few faces.

    Returns:
        uint8 pictures ``(N, S, S)`` or ``(N, S, S, 3)`` by name, ``turned`` views
        ``(N, V, S, S, 3)``, and ``turns``, the V angles in degrees.
    """
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
        "re-rendered": pixels(model.rendered(face)[0]),
        "turned": np.stack([pixels(t) for t in turned], axis=1),
        "turns": np.array(TURNS),
    }
