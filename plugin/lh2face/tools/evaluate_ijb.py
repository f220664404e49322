"""``lh2face evaluate-ijb``: evaluate a model or given features on IJB-B or IJB-C."""

import csv
import math
import reprlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lh2face.artifacts.embeddings import EMBEDDINGS
from lh2face.artifacts.evaluations import write_reject, write_results
from lh2face.artifacts.model import model_digest
from lh2face.artifacts.provenance import PROVENANCE, provenance, write_provenance
from lh2face.data.benchmarks.ijb import photos
from lh2face.data.ijb_meta import IJBMeta, faces_path, meta_paths, read_meta
from lh2face.detection import open_named
from lh2face.embedding.embedders import checkpoint_embedder, onnx_embedder
from lh2face.embedding.kept import KeptError, claim, embed_faces
from lh2face.embedding.photos import Photos
from lh2face.evaluation.checks import EvaluationError
from lh2face.evaluation.features import concentrations
from lh2face.evaluation.protocol import Protocol, run_protocol
from lh2face.evaluation.quality import RejectCurves, error_versus_reject, reject_areas
from lh2face.evaluation.scores import template_rows
from lh2face.files.arrays import read_array
from lh2face.files.digests import digest, digests, joined
from lh2face.files.outputs import exclusive
from lh2face.text import printable

COMMAND = "lh2face evaluate-ijb"
RESULTS = [PROVENANCE, "metrics.json", "roc.csv", "cmc.csv", "reject.csv", "draws.csv"]
MOST_WORKERS = 256
# Most characters of a line with a quality; a longer line is split, and its parts are refused.
LINE = 1 << 16


def run(
    root: Path, lists: str, out: Path, protocol: Protocol, *, model: Path | None = None,
    checkpoint: Path | None = None, features: Path | None = None, quality: Path | None = None,
    workers: int = 2, check_landmarks: bool = True, detector: str | None = None,
) -> None:  # fmt: skip
    """Evaluate a model or given features on a benchmark; print and write the figures.

    Embeddings are kept in ``out`` block by block, so an interrupted run continues from there.
    Files in ``out`` are replaced only if this command wrote them.

    Args:
        root: Folder with ``meta`` and ``loose_crop``.
        lists: Prefix of the meta files, such as ``ijbc``.
        out: Folder for ``embeddings.npy``, ``metrics.json``, ``provenance.json`` and the curves as
            CSV.
        protocol: Options of the protocol.
        model: Recognition ONNX file, as insightface's ``model_zoo`` loads it.
        checkpoint: Folder of a trained model.
        features: ``.npy`` file ``(N, d)``, or ``(N, 2, d)`` of images and mirror images.
        quality: CSV of ``name,score`` with a quality of each face; without it, κ is used.
        workers: Number of threads that read and align, 1 to ``MOST_WORKERS``.
        check_landmarks: Refuse landmarks that cannot belong to a face. If False, they are used
            nevertheless, as insightface does.
        detector: Name or file of a detector, see :func:`~lh2face.detection.open_named`. Where it
            finds no face, the landmarks of the lists are used, because templates must be complete.

    Raises:
        ValueError: If not exactly one of model, checkpoint and features is given, a file is not
            valid, or ``out`` lies in an input, has files of another origin, or has embeddings of
            another model or of other images or landmarks.
    """
    given = {"--model": model, "--checkpoint": checkpoint, "--features": features}
    chosen = {name: path for name, path in given.items() if path is not None}
    if len(chosen) != 1:
        raise ValueError(f"expected one of {', '.join(given)}, found {', '.join(chosen) or 'none'}")
    ((option, source),) = chosen.items()
    if not 1 <= workers <= MOST_WORKERS:
        raise ValueError(f"--workers: expected 1 to {MOST_WORKERS}, found {workers}")
    for read in (root / "meta", root / "loose_crop", checkpoint):
        if read and out.resolve().is_relative_to(read.resolve()):
            raise ValueError(f"{out}: --out is inside the input {read}; choose another folder")
    if features and detector is not None:
        raise ValueError("--detector: found --features too; give one of them")
    detect = None if detector is None else open_named(detector)
    meta = read_meta(root, lists)
    scores = None if quality is None else read_quality(quality, meta.names)
    with exclusive(out):
        record = claim(out, RESULTS if features else [*RESULTS, EMBEDDINGS], COMMAND)
        kind = option.removeprefix("--")
        # Computed before the work, so that it belongs to the weights that are loaded.
        measured = None if features else model_digest(source)
        # Stage evaluate uses the same name for the digest of the lists.
        if features:  # checked before its digest, which is slow for a large file
            embeddings = read_features(features, len(meta.names))
        data = {"meta": joined(digests(*meta_paths(root, lists))), kind: digest(source)}
        if not features:
            embedder = onnx_embedder(source) if model else checkpoint_embedder(source)
            with ThreadPoolExecutor(workers) as pool:
                listed = str(faces_path(root, lists))
                faces = Photos(photos(root, lists, meta), listed, pool, check_landmarks, detect)
                if detector is not None:
                    data["detector"] = faces.found_by = detector_digest(detector)
                rows = range(len(meta.names))
                try:
                    embeddings = embed_faces(faces, rows, embedder, data[kind], out, record)
                except KeptError as error:
                    raise ValueError(f"{error}; use another --out") from None
            data["images"] = joined([images for images, *_ in record.blocks])
            if missed := sum(missed for *_, missed in record.blocks):
                print(f"{missed} photos: no face found, so the landmarks of the lists are used")
        if quality:
            data["quality"] = digest(quality)
        results = run_protocol(embeddings, meta, protocol)
        if scores is None:
            scores = concentrations(embeddings)
        curves = reject_curves(results.scores, meta, scores)
        reject = {**reject_areas(curves), "far": curves.far}
        metrics = {**results.figures, "reject": reject, "protocol": asdict(protocol)}
        params = {"lists": lists, **asdict(protocol)}
        # Removed first, so that a killed run leaves no mixture of old and new results.
        for name in RESULTS:
            (out / name).unlink(missing_ok=True)
        write_reject(out, curves)
        write_results(results, metrics, out)
        made = provenance(params=params, data=data, seed=protocol.seed)
        about = {"model": measured, "origin": "photos", "people": meta.people}
        write_provenance(out, {**made, **about})
    show(lists, metrics)


def detector_digest(detector: str) -> str:
    """Return what identifies a detector: the digest of its file, or its name."""
    return digest(Path(detector)) if Path(detector).is_file() else detector


def reject_curves(scores: np.ndarray, meta: IJBMeta, quality: np.ndarray) -> RejectCurves:
    """Compute the error-versus-reject curves of the pairs of templates.

    The quality of a template is the mean quality of its faces.

    Args:
        scores: ``(P,)`` scores of the pairs, in the order of the list.
        meta: The lists.
        quality: ``(N,)`` quality of each face.

    Returns:
        See :func:`~lh2face.evaluation.quality.error_versus_reject`.
    """
    ids, row = np.unique(meta.template_ids, return_inverse=True)
    of_template = np.bincount(row, quality) / np.bincount(row)
    sides = (of_template[template_rows(ids, side)] for side in (meta.first, meta.second))
    return error_versus_reject(scores, meta.genuine, np.minimum(*sides))


def read_features(path: Path, faces: int) -> np.ndarray:
    """Open a file of features, memory-mapped.

    Args:
        path: ``.npy`` file of floats ``(N, d)``, ``(N, 1, d)`` or ``(N, 2, d)``.
        faces: Number N of faces.

    Returns:
        ``(N, V, d)``, V = 1 or 2.

    Raises:
        ValueError: If it is not such a file, or a feature is zero or not finite.
    """
    features = read_array(path)
    views = features[:, None] if features.ndim == 2 else features
    fits = views.ndim == 3 and len(views) == faces and views.shape[1] in (1, 2) and views.shape[2]
    if features.dtype.kind != "f" or not fits:
        raise ValueError(
            f"{path}: expected floats ({faces}, d) or ({faces}, 2, d), a row for each face of the "
            f"lists, found {features.dtype} {features.shape}"
        )
    try:
        concentrations(views)
    except EvaluationError as error:
        raise ValueError(f"{path}: {error}") from None
    return views


def read_quality(path: Path, names: list[str]) -> np.ndarray:
    """Read the quality of each face, ``(N,)``, from a CSV of ``name,score``.

    Args:
        path: The file; its first line may be a header.
        names: Names of the N faces.

    Raises:
        ValueError: If a face has no quality or two, or a line is not a name and a finite number.
    """
    scores: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.reader(iter(lambda: file.readline(LINE), ""))
        try:
            for row in filter(None, rows):
                name, score = row[0], _number(row[1]) if len(row) == 2 else math.nan
                if math.isfinite(score) and name not in scores:
                    scores[name] = score
                elif rows.line_num > 1:  # the first line may be a header
                    what = "a second score of" if name in scores else "expected name,score, found"
                    raise ValueError(f"{what} {reprlib.repr(row)}")
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}:{rows.line_num}: {error}") from None
    absent = next((name for name in names if name not in scores), None)
    if absent:
        raise ValueError(f"{path}: there is no score for {absent}")
    return np.array([scores[name] for name in names])


def show(lists: str, metrics: dict[str, Any]) -> None:
    """Print the figures as a table, in percent."""
    table = Table("figure", "at", "%", title=Text(printable(lists)))
    if metrics["protocol"]["formulas"] == "insightface":
        table.caption = "1:N as computed by insightface's ijb_evals.py"
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
    for key, title in {"area": "area", "area_at_far": "area at a constant FAR"}.items():
        table.add_row("reject curve", title, f"{100 * metrics['reject'][key]:.2f}")
    Console().print(table)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
