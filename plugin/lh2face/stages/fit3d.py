"""Stage ``fit3d``: train the reconstructor on the aligned faces."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lh2face.artifacts.model import DESCRIPTION, RECONSTRUCTOR_WEIGHTS, write_weights
from lh2face.artifacts.outputs import atomic_dir, check_output
from lh2face.artifacts.provenance import provenance
from lh2face.data.datasets import RecordFaces
from lh2face.data.records import face_digests
from lh2face.progress import track
from lh2face.registry import build
from lh2face.stages.figures import METRICS
from lh2face.stages.memory import peak_memory, reuse_freed_memory
from lh2face.text import check_utf8

if TYPE_CHECKING:
    from lh2face.stages.params import Params


def run(params: "Params", aligned: Path, out: Path) -> None:
    """Write ``reconstructor.safetensors``, ``model.json``, ``metrics.json``.

    Args:
        params: The parameters; ``fit3d`` is read.
        aligned: Folder of training faces, or with several such folders.
        out: Folder to write.

    Raises:
        ValueError: If there are no such faces, or the loss becomes NaN or infinite.
    """
    check_utf8(out)
    check_output(out, [aligned])
    fit = params.fit3d
    reuse_freed_memory()
    torch.manual_seed(fit.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build("reconstructor", fit.reconstructor, "fit3d.reconstructor").to(device)
    faces = RecordFaces(str(aligned), image_size=model.image_size, mirror=0.0)
    start = time.perf_counter()
    final = train(model, faces, steps=fit.steps, batch_size=fit.batch_size, lr=fit.lr)
    metrics = {
        "steps": fit.steps,
        "seconds": round(time.perf_counter() - start, 3),
        "peak_memory_mib": peak_memory(),
        **final,
    }
    description = {
        "reconstructor": fit.reconstructor,
        "image_size": model.image_size,
        "provenance": provenance(
            params=fit.model_dump(), data=face_digests(aligned), seed=fit.seed
        ),
    }
    with atomic_dir(out, [aligned]) as folder:
        write_weights(folder / RECONSTRUCTOR_WEIGHTS, model.state_dict())
        for name, content in ((DESCRIPTION, description), (METRICS, metrics)):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


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
        terms = model.loss(batch, model(batch))
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
