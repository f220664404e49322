"""``lh2face evaluate-ijb``: IJB-B or IJB-C on disk, with a model or with features."""

import csv
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lh2face.artifacts.outputs import atomic_file, write_rows
from lh2face.data.align import norm_crop
from lh2face.data.ijb_meta import IJBMeta, image_paths, read_meta
from lh2face.evaluation.ijb import EvaluationError, concentrations, template_rows
from lh2face.evaluation.protocol import Protocol, run_protocol
from lh2face.evaluation.quality import error_versus_reject, reject_area
from lh2face.progress import progress
from lh2face.stages.evaluate import write_results
from lh2face.text import printable
from lh2face.tools.embedders import (
    Embedder,
    check_finite,
    checkpoint_embedder,
    onnx_embedder,
)

BLOCK = 512


def run(
    root: Path, lists: str, out: Path, protocol: Protocol, *, model: Path | None = None,
    checkpoint: Path | None = None, features: Path | None = None, quality: Path | None = None,
    workers: int = 2,
) -> None:  # fmt: skip
    """Embed a protocol's faces, unless features are given, and print and write its figures.

    Embeddings are kept in ``out`` block by block: a run that was interrupted goes on from there.

    Args:
        root: Folder with ``meta`` and ``loose_crop``.
        lists: Prefix of the meta files, such as ``ijbc``.
        out: Folder for ``embeddings.npy``, ``metrics.json`` and the curves as CSV.
        protocol: The switches.
        model: A recognition ONNX file, as insightface's ``model_zoo`` loads it.
        checkpoint: Folder of a trained model.
        features: ``(N, d)`` or ``(N, 2, d)`` (image and mirror image), ``.npy``.
        quality: CSV of ``name,score``, a quality of each face; κ without it.
        workers: Threads that read and align.

    Raises:
        ValueError: If not exactly one of model, checkpoint and features is given, a file is not
            what it should be, or ``out`` holds the embeddings of another model.
    """
    given = {"--model": model, "--checkpoint": checkpoint, "--features": features}
    chosen = [name for name, path in given.items() if path is not None]
    if len(chosen) != 1:
        raise ValueError(f"expected one of {', '.join(given)}, found {', '.join(chosen) or 'none'}")
    meta = read_meta(root, lists)
    scores = None if quality is None else read_quality(quality, meta.names)
    out.mkdir(parents=True, exist_ok=True)
    if features:
        embeddings = read_features(features)
    else:
        source = model or checkpoint
        embedder = onnx_embedder(model) if model else checkpoint_embedder(checkpoint)
        embeddings = embed_faces(root, lists, meta, embedder, _digest(source), out, workers)
    results = run_protocol(embeddings, meta, protocol)
    if scores is None:
        scores = concentrations(embeddings)
    rejected, fnmr = reject_curve(results.genuine_scores, meta, scores)
    rows = zip(rejected.tolist(), fnmr.tolist(), strict=True)
    write_rows(out / "reject.csv", ("rejected", "fnmr"), rows)
    area = {"area": reject_area(rejected, fnmr)}
    metrics = {**results.figures, "reject": area, "protocol": asdict(protocol)}
    write_results(results, metrics, out)
    show(lists, metrics)


def reject_curve(
    genuine_scores: np.ndarray, meta: IJBMeta, quality: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Error-versus-reject of the genuine pairs by the mean quality of a template's faces."""
    ids, row = np.unique(meta.template_ids, return_inverse=True)
    of_template = np.bincount(row, quality) / np.bincount(row)
    sides = (template_rows(ids, side[meta.genuine]) for side in (meta.first, meta.second))
    return error_versus_reject(genuine_scores, np.minimum(*(of_template[rows] for rows in sides)))


def read_features(path: Path) -> np.ndarray:
    """Features of a file, memory-mapped, as ``(N, V, d)``.

    Raises:
        ValueError: If it is not an array of floats of two or three axes.
    """
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path}: not a .npy file of numbers: {error}") from None
    if features.ndim not in (2, 3) or features.dtype.kind != "f":
        raise ValueError(
            f"{path}: expected floats (N, d) or (N, 2, d), found {features.dtype} {features.shape}"
        )
    return features[:, None] if features.ndim == 2 else features


def read_quality(path: Path, names: list[str]) -> np.ndarray:
    """A quality of each face ``(N,)`` from a CSV of ``name,score``.

    Raises:
        ValueError: If a face has none, or a line is not a name and a number.
    """
    scores = {}
    with path.open(newline="") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            try:
                name, score = row
                scores[name] = float(score)
            except ValueError:
                if line > 1:  # the first may be a header
                    raise ValueError(f"{path}:{line}: expected name,score, found {row}") from None
    absent = next((name for name in names if name not in scores), None)
    if absent:
        raise ValueError(f"{path}: there is no score for {absent}")
    return np.array([scores[name] for name in names])


def embed_faces(
    root: Path, lists: str, meta: IJBMeta, embedder: Embedder, model: str, out: Path, workers: int
) -> np.ndarray:
    """Embeddings ``(N, 2, d)`` of all faces, from ``out`` as far as it holds them.

    Args:
        root: Folder with ``loose_crop``.
        lists: Prefix of the meta files.
        meta: The lists.
        embedder: From a block of aligned faces to embeddings.
        model: What tells this model from others.
        out: Folder for ``embeddings.npy`` and ``progress.json``.
        workers: Threads that read and align.

    Raises:
        ValueError: If an image is missing or cannot be decoded, or ``out`` holds something else.
    """
    paths = image_paths(root, lists, meta.names)
    record, path = out / "progress.json", out / "embeddings.npy"
    state = {"model": model, "faces": len(paths), "done": 0}
    if record.exists():
        found = json.loads(record.read_text())
        if {**found, "done": 0} != state:
            raise ValueError(f"{out}: holds embeddings of another model or list; use another --out")
        state = found
    embeddings = np.load(path, mmap_mode="r+", allow_pickle=False) if state["done"] else None
    shown = progress("embedding faces", len(paths), state["done"])
    with ThreadPoolExecutor(workers) as pool, closing(shown):
        for start in range(state["done"], len(paths), BLOCK):
            rows = slice(start, start + BLOCK)
            faces = list(pool.map(read_aligned, paths[rows], meta.landmarks[rows]))
            block = embedder(np.stack(faces))
            check_finite(block, paths[rows])
            if embeddings is None:
                embeddings = np.lib.format.open_memmap(
                    path, "w+", np.float32, (len(paths), *block.shape[1:])
                )
            embeddings[rows] = block
            embeddings.flush()
            state["done"] = start + len(faces)
            with atomic_file(record) as file:
                file.write_text(json.dumps(state))
            shown.advance(len(faces))
    return embeddings


def read_aligned(path: Path, landmarks: np.ndarray) -> np.ndarray:
    """A face at 112 × 112, RGB.

    Raises:
        EvaluationError: If the image cannot be decoded.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise EvaluationError(f"{path}: not an image OpenCV can decode")
    return cv2.cvtColor(norm_crop(image, landmarks), cv2.COLOR_BGR2RGB)


def show(lists: str, metrics: dict[str, Any]) -> None:
    """Print the figures as a table, in percent."""
    table = Table("figure", "at", "%", title=Text(printable(lists)))
    table.columns[2].justify = "right"
    for section, name, title in (
        ("verification", "tar", "TAR at FAR"),
        ("identification", "rank", "rank"),
        ("identification", "tpir", "TPIR at FPIR"),
    ):
        ends = metrics[section].get(f"{name}_interval", {})
        for key, value in metrics[section][name].items():
            shown = "–" if value is None else f"{100 * value:.2f}"
            if key in ends:
                low, high = ends[key]
                shown += f"  ({100 * low:.2f} … {100 * high:.2f})"
            table.add_row(title, key, shown)
    table.add_row("reject curve", "area", f"{100 * metrics['reject']['area']:.2f}")
    Console().print(table)


def _digest(path: Path) -> str:
    """SHA-256 of a model's file, or of all files of its folder."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as opened:
                for chunk in iter(partial(opened.read, 1 << 20), b""):
                    digest.update(chunk)
    return digest.hexdigest()
