"""``lh2face identify``: find the person in a photo among the people of a gallery."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lh2face.artifacts.gallery import Gallery, read_gallery
from lh2face.data.images import ImageError
from lh2face.embedding.embedders import directions, open_embedder
from lh2face.evaluation.evidence import doubts
from lh2face.evaluation.features import concentrations
from lh2face.evaluation.identification import TIE
from lh2face.evaluation.pairs import LEAST_ACCEPTS
from lh2face.evaluation.roc import share_of, threshold_at_far
from lh2face.text import printable
from lh2face.tools.verdict import Threshold, check_cosine, warn
from lh2face.tools.verify import face_reader, warn_of_low_kappa

FPIR = 0.01
CANDIDATES = 5


def run(
    photos: Sequence[Path], gallery: Path, model: Path, *, fpir: float | None = None,
    threshold: float | None = None, landmarks: Path | None = None, detector: str | None = None,
) -> bool:  # fmt: skip
    """Print for each photo the best candidates, its κ, and the decision.

    Args:
        photos: Aligned crops of 112 × 112 px, or any photos with landmarks or a detector.
        gallery: Folder that ``lh2face enrol`` wrote.
        model: The model that enrolled the people.
        fpir: False positive identification rate of the threshold; 0.01 by default.
        threshold: Cosine to use instead of a measured threshold.
        landmarks: CSV of landmarks, see :func:`~lh2face.tools.verify.face_reader`.
        detector: Name or file of a detector, see :func:`~lh2face.detection.open_named`.

    Returns:
        Whether there is a decision for each photo. There is none for a photo that cannot be read or
        has no face, and none at all if the gallery is too small to measure the default FPIR.

    Raises:
        ValueError: If no photo can be used, an embedding is not finite or zero, the gallery is
            damaged or from another model, or it has too few people for the FPIR.
    """
    known = read_gallery(gallery, model)
    limit = choose_threshold(known.non_mated, len(known.people), fpir, threshold)
    faces, failures = usable_faces(photos, face_reader(landmarks, detector))
    embeddings = open_embedder(model)(np.stack(list(faces.values())))
    scores = directions(embeddings, list(faces)) @ known.templates.T
    show(list(faces), scores, concentrations(embeddings), limit, known)
    warn(Console(), [str(failure) for failure in failures])
    return not limit.refusal and not failures


def usable_faces(
    photos: Sequence[Path], read: Callable[[Path], np.ndarray]
) -> tuple[dict[Path, np.ndarray], list[ImageError]]:
    """Read the faces of all photos that have one.

    Args:
        photos: The files.
        read: See :func:`~lh2face.tools.verify.face_reader`.

    Returns:
        The face of each usable photo, ``(112, 112, 3)`` uint8 RGB, and the errors of the others.

    Raises:
        ImageError: If no photo can be used; it is the error of the first one.
    """
    faces, failures = {}, []
    for photo in photos:
        try:
            faces[photo] = read(photo)
        except ImageError as error:
            failures.append(error)
    if not faces:
        raise failures[0]
    return faces, failures


def choose_threshold(
    non_mated: np.ndarray, people: int, fpir: float | None, threshold: float | None
) -> Threshold:
    """Choose the given threshold, or the lowest one that at most a share of searches exceeds.

    Args:
        non_mated: ``(Q,)`` best scores of searches for people who are not enrolled.
        people: Number of enrolled people.
        fpir: The share, in (0, 1); 0.01 by default.
        threshold: Cosine to use instead.

    Returns:
        The threshold. It is a refusal if fewer than ten false alarms are expected at the default
        FPIR.

    Raises:
        ValueError: If both are given, one is out of its range, or fewer than ten false alarms are
            expected at the given FPIR.
    """
    if threshold is not None:
        if fpir is not None:
            raise ValueError("--fpir: found --threshold too; give one of them")
        return _given_threshold(check_cosine(threshold), non_mated, people)
    rate = FPIR if fpir is None else fpir
    if not 0 < rate < 1:
        raise ValueError(f"--fpir: expected a rate between 0 and 1, found {rate:g}")
    if share_of(rate, len(non_mated)) < LEAST_ACCEPTS:
        reason = f"{len(non_mated)} non-mated searches cannot show an FPIR of {rate:g}"
        if fpir is not None:
            raise ValueError(f"--fpir: {reason}; enrol more people or give --threshold")
        more = "enrol more people, or give a higher --fpir or a --threshold"
        return Threshold(None, refusal=f"{reason}; {more}")
    origin = f"FPIR {rate:g}, measured on {_searches(non_mated, people)}"
    found = doubts("FPIR", rate, len(non_mated), people)
    return Threshold(threshold_at_far(non_mated, rate), origin, found)


def _given_threshold(value: float, non_mated: np.ndarray, people: int) -> Threshold:
    """Return a given threshold with the share of the gallery's non-mated searches above it."""
    if not len(non_mated):
        return Threshold(value, "as given", ["the FPIR of this threshold is not known"])
    rate = float((non_mated > value).mean())
    origin = f"as given, FPIR {rate:.3g} on {_searches(non_mated, people)}"
    return Threshold(value, origin, doubts("FPIR", rate, len(non_mated), people))


def _searches(non_mated: np.ndarray, people: int) -> str:
    return f"{len(non_mated):,} non-mated searches of the gallery's {people:,} people"


def matches(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Find the gallery row with the highest score above the threshold; several rows if they tie.

    Ties count as in :mod:`lh2face.evaluation.identification`: a score within ``TIE`` of the
    threshold is not above it, and scores within ``TIE`` of the best one tie with it.

    Args:
        scores: ``(G,)`` cosines.
        threshold: A cosine.

    Returns:
        ``(k,)`` rows; empty if no score is above the threshold.
    """
    best = scores.max()
    return np.flatnonzero((scores >= best - TIE) & (best > threshold + TIE))


def show(
    photos: Sequence[Path], scores: np.ndarray, kappa: np.ndarray, limit: Threshold,
    gallery: Gallery,
) -> None:  # fmt: skip
    """Print candidates and decisions, by the scores ``(N, G)`` and κ ``(N,)`` of the photos."""
    console, names = Console(), [printable(name) for name in gallery.people]
    console.print(Text(f"threshold  {limit}"))
    for photo, row, value in zip(photos, scores, kappa, strict=True):
        table = Table.grid(padding=(0, 2))
        table.add_row("photo", Text(printable(photo)))
        table.add_row("κ", f"{value:.2f}")
        for place, person in enumerate(np.argsort(-row, kind="stable")[:CANDIDATES], start=1):
            table.add_row(f"{place}", Text(f"{row[person]:.4f}  {names[person]}"))
        table.add_row("decision", decision(row, limit, names))
        console.print()
        console.print(table)
    warn(console, limit.doubts)
    # κ is compared with the enrolled photos: they show the same people, from the same cameras.
    known = {"kappa": gallery.kappa}
    warn_of_low_kappa(console, photos, kappa, known, "the enrolled photos")


def decision(scores: np.ndarray, limit: Threshold, names: Sequence[str]) -> Text:
    """Return the decision for the scores ``(G,)`` of a photo, or the reason why there is none."""
    if limit.refusal or limit.value is None:
        return Text(f"none: {limit.refusal}")
    found = [names[person] for person in matches(scores, limit.value)]
    if len(found) > 1:
        return Text(f"undecided, the scores tie: {', '.join(found)}", "bold")
    return Text(found[0] if found else "nobody enrolled", "bold")
