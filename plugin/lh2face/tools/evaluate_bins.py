"""``lh2face evaluate-bins``: evaluate any model on verification bins such as ``lfw.bin``."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lh2face.artifacts.model import model_digest
from lh2face.data.align import check_aligned
from lh2face.data.verification_bin import read_bin
from lh2face.embedding.embedders import Embedder, directions, open_embedder
from lh2face.evaluation.checks import EvaluationError
from lh2face.evaluation.features import concentrations
from lh2face.evaluation.pairs import Pairs, bin_metrics
from lh2face.evaluation.verification import best_threshold, fold_decisions
from lh2face.files.outputs import atomic_files
from lh2face.progress import track
from lh2face.text import printable

BLOCK = 256


def run(bins: Sequence[Path], model: Path, out: Path | None = None) -> None:
    """Print the figures of a model on verification bins, and write them to a file if one is given.

    As in insightface's ``verification.test``, the embeddings of an image and of its mirror image
    are added and normalised, and the threshold of a fold is the best one on the other nine.

    Args:
        bins: Files whose images are aligned faces of 112 × 112 px.
        model: Recognition ONNX file, or the folder of a trained model.
        out: JSON file for the figures.

    Raises:
        ValueError: If two bins have the same name, a bin or one of its images cannot be used, or
            an embedding is not finite or zero.
    """
    names = [path.stem for path in bins]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"bins: found the name {twice} more than once; expected different names")
    # The output is checked before the work, which may take long.
    written = nullcontext() if out is None else atomic_files(out.parent, [out.name], [*bins, model])
    with written as folder:
        embedder = open_embedder(model)
        found = {path.stem: evaluate_bin(path, embedder) for path in bins}
        if folder is not None and out is not None:
            metrics = {"model": model_digest(model), "bins": found}
            (folder / out.name).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    show(found)


def evaluate_bin(path: Path, embedder: Embedder) -> dict[str, Any]:
    """Compute the figures of one bin.

    Returns:
        ``pairs``: their number; ``accuracy`` and ``accuracy_std`` over ten folds; ``tar`` by FAR,
        ``None`` where the FAR is below one impostor pair; ``threshold``: the best cosine for all
        pairs; ``kappa``: mean and 5th percentile.

    Raises:
        ValueError: If the file cannot be used; the message names it.
    """
    images, same = read_bin(path)
    parts = []
    for start in track(range(0, len(images), BLOCK), f"embedding {path}"):
        rows = range(start, min(start + BLOCK, len(images)))
        faces = [check_aligned(images[i], f"{path}: image {i}") for i in rows]
        parts.append(embedder(np.stack(faces)))
    embeddings = np.concatenate(parts)
    unit = directions(embeddings, [f"{path}: image {i}" for i in range(len(images))])
    scores, kappa = (unit[::2] * unit[1::2]).sum(axis=1), concentrations(embeddings)
    try:
        right = fold_decisions(scores, same)
        metrics = bin_metrics(Pairs(scores, same, kappa.reshape(-1, 2), right))
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error}") from None
    return {
        "pairs": len(same),
        **metrics,
        "threshold": best_threshold(scores, same),
        "kappa": {"mean": float(kappa.mean()), "p5": float(np.percentile(kappa, 5))},
    }


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print the figures as a table, with rates in percent."""
    fars = [f"TAR at FAR {far}" for far in next(iter(found.values()))["tar"]]
    table = Table("bin", "pairs", "accuracy", *fars, "threshold", "mean κ")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, metrics in found.items():
        tar = ("–" if rate is None else f"{100 * rate:.2f}" for rate in metrics["tar"].values())
        table.add_row(
            Text(printable(name)),
            f"{metrics['pairs']}",
            f"{100 * metrics['accuracy']:.2f} ± {100 * metrics['accuracy_std']:.2f}",
            *tar,
            f"{metrics['threshold']:.4f}",
            f"{metrics['kappa']['mean']:.2f}",
        )
    Console().print(table)
