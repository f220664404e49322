"""``lh2face identify``: who of a gallery a photo shows, if anyone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lh2face.artifacts.gallery import Gallery, read_gallery
from lh2face.embedding.embedders import directions, open_embedder
from lh2face.evaluation.identification import TIE
from lh2face.evaluation.ijb import concentrations
from lh2face.evaluation.pairs import LEAST_ACCEPTS
from lh2face.evaluation.roc import share_of, threshold_at_far
from lh2face.text import printable
from lh2face.tools.verify import Threshold, given_threshold, read_faces, warn_of_low_kappa

FPIR = 0.01
CANDIDATES = 5


def run(
    photos: Sequence[Path], gallery: Path, model: Path, *, fpir: float | None = None,
    threshold: float | None = None, landmarks: Path | None = None, detector: str | None = None,
) -> None:  # fmt: skip
    """Print for each photo the best candidates, κ, and the person it shows, if anyone enrolled.

    Args:
        photos: Aligned crops of 112 × 112 px, or any photos with landmarks or a detector.
        gallery: Folder that ``lh2face enrol`` wrote.
        model: The model that enrolled the people.
        fpir: False positive identification rate of the threshold; 0.01 by default.
        threshold: In place of a measured one.
        landmarks: As in :func:`~lh2face.tools.verify.face_reader`, like the detector.
        detector: As :func:`~lh2face.detection.open_named` takes it.

    Raises:
        ValueError: If a photo cannot be read or has no face, its embedding is not finite or zero,
            the gallery is damaged or another model's, or it has too few people for the FPIR.
    """
    known = read_gallery(gallery, model)
    limit = choose_threshold(known.non_mated, fpir, threshold)
    embeddings = open_embedder(model)(read_faces(photos, landmarks, detector))
    scores = directions(embeddings, photos) @ known.templates.T
    show(photos, scores, concentrations(embeddings), limit, known)


def choose_threshold(
    non_mated: np.ndarray, fpir: float | None, threshold: float | None
) -> Threshold:
    """The threshold asked for, or the lowest that lets no more than a share of searches through.

    Args:
        non_mated: ``(Q,)`` best scores of searches for people who are not enrolled.
        fpir: The share; 0.01 by default.
        threshold: In place of it.

    Raises:
        ValueError: If both are given, one is out of its range, or fewer than ten false alarms are
            expected of the searches.
    """
    if threshold is not None:
        if fpir is not None:
            raise ValueError("--fpir: found --threshold too; give one of them")
        return given_threshold(threshold)
    fpir = FPIR if fpir is None else fpir
    if not 0 < fpir < 1:
        raise ValueError(f"--fpir: expected a rate between 0 and 1, found {fpir:g}")
    if share_of(fpir, len(non_mated)) < LEAST_ACCEPTS:
        raise ValueError(
            f"--fpir: {len(non_mated)} non-mated searches cannot show an FPIR of {fpir:g}; enrol "
            "more people or give --threshold"
        )
    origin = f"FPIR {fpir:g}, measured on {len(non_mated):,} non-mated searches of the gallery"
    return Threshold(threshold_at_far(non_mated, fpir), origin)


def matches(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Who comes first, above the threshold: one of the gallery's rows, none, or several that tie.

    As :mod:`lh2face.evaluation.identification` counts ties: a score within ``TIE`` of the
    threshold is not above it, and a mate beside whom another scores as high does not come first.

    Args:
        scores: ``(G,)``.
        threshold: A cosine.

    Returns:
        ``(k,)`` rows.
    """
    best = scores.max()
    return np.flatnonzero((scores >= best - TIE) & (best > threshold + TIE))


def show(
    photos: Sequence[Path], scores: np.ndarray, kappa: np.ndarray, limit: Threshold,
    gallery: Gallery,
) -> None:  # fmt: skip
    """Print candidates and decisions, by the scores ``(N, G)`` and κ ``(N,)`` of the photos."""
    console, names = Console(), [printable(name) for name in gallery.people]
    console.print(Text(f"threshold  {limit.value:.4f}, {limit.origin}"))
    for photo, row, value in zip(photos, scores, kappa, strict=True):
        table = Table.grid(padding=(0, 2))
        table.add_row("photo", Text(printable(photo)))
        table.add_row("κ", f"{value:.2f}")
        for place, person in enumerate(np.argsort(-row, kind="stable")[:CANDIDATES], start=1):
            table.add_row(f"{place}", Text(f"{row[person]:.4f}  {names[person]}"))
        found = [names[person] for person in matches(row, limit.value)]
        decision = f"undecided, the scores tie: {', '.join(found)}"
        if len(found) < 2:
            decision = found[0] if found else "nobody enrolled"
        table.add_row("decision", Text(decision, "bold"))
        console.print()
        console.print(table)
    # A photo is poor or not beside those of the same people and cameras.
    known = {"kappa": gallery.kappa}
    warn_of_low_kappa(console, photos, kappa, known, "the enrolled photos")
