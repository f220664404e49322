"""Score two folders of photos against each other.

    python examples/score_folders.py FIRST SECOND --model MODEL [--out scores.csv]

MODEL is an ONNX file for insightface (as `lh2face export-onnx` writes) or the folder of a trained
model; photos are aligned faces of 112 × 112 px. The script writes a CSV of first, second, score and
both κ, and prints the best match of every photo of the first folder.
"""

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lh2face.embedding.embedders import Embedder, open_embedder
from lh2face.evaluation.features import concentrations
from lh2face.tools.verify import aligned_face


def embed(folder: Path, embedder: Embedder) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Return the photos of a folder, their unit directions ``(N, d)`` and their κ ``(N,)``."""
    photos = sorted(path for path in folder.iterdir() if path.is_file())
    if not photos:
        raise SystemExit(f"{folder}: there is no photo in it")
    embeddings = embedder(np.stack([aligned_face(photo) for photo in photos]))
    sums = embeddings.sum(axis=1)  # add the embeddings of the image and of its mirror image
    return photos, sums / np.linalg.norm(sums, axis=1, keepdims=True), concentrations(embeddings)


def main(
    first: Path,
    second: Path,
    model: Annotated[Path, typer.Option()],
    out: Annotated[Path, typer.Option()] = Path("scores.csv"),
) -> None:
    embedder = open_embedder(model)
    rows, x, row_kappa = embed(first, embedder)
    columns, y, column_kappa = embed(second, embedder)
    scores = x @ y.T
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", "score", "kappa_first", "kappa_second"])
        for (i, j), score in np.ndenumerate(scores):
            values = (score, row_kappa[i], column_kappa[j])
            writer.writerow([rows[i].name, columns[j].name, *(f"{v:.4f}" for v in values)])
    for photo, j, score in zip(rows, scores.argmax(axis=1), scores.max(axis=1), strict=True):
        print(f"{photo.name}: {columns[j].name}, {score:.3f}")


if __name__ == "__main__":
    typer.run(main)
