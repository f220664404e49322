"""``lh2face enrol``: make a gallery of people from a folder of their photos."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from lh2face.artifacts.gallery import Gallery, write_gallery
from lh2face.artifacts.model import model_digest
from lh2face.artifacts.provenance import provenance, write_provenance
from lh2face.data.images import ImageError, read_file
from lh2face.data.sources import LeftOut, people, photos, repeated
from lh2face.embedding.embedders import Embedder, directions, open_embedder
from lh2face.evaluation.features import concentrations
from lh2face.evaluation.identification import best_others
from lh2face.evaluation.pooling import pool_media
from lh2face.files.outputs import atomic_dir
from lh2face.files.tables import write_rows
from lh2face.progress import track
from lh2face.text import printable
from lh2face.tools.identify import choose_threshold
from lh2face.tools.verdict import warn
from lh2face.tools.verify import face_reader

FAILURES = "failures.csv"


def run(
    root: Path, model: Path, out: Path, *, landmarks: Path | None = None,
    detector: str | None = None,
) -> None:  # fmt: skip
    """Write a gallery, and a list of the photos that cannot be used.

    Args:
        root: Folder with one folder per person.
        model: Recognition ONNX file, or the folder of a trained model.
        out: Folder to write.
        landmarks: CSV of landmarks, see :func:`~lh2face.tools.verify.face_reader`.
        detector: Name or file of a detector, see :func:`~lh2face.detection.open_named`.

    Raises:
        ValueError: If no photo can be used, or the model, the landmarks or the detector cannot be
            used.
    """
    named = Path(detector) if detector else None
    with atomic_dir(out, [root, model, landmarks, named]) as folder:
        read, embedder = face_reader(landmarks, detector), open_embedder(model)
        folders, left_out = people(root)
        paths: list[Path] = []
        for person in folders:
            own, beside = photos(person)
            paths += own
            left_out += beside
        embeddings, unusable = embed_photos(paths, read, embedder)
        left_out += unusable
        if not embeddings:
            first = "; the first: {}: {}".format(*left_out[0]) if left_out else ""
            raise ValueError(f"{root}: expected {root}/NAME/PHOTO, no photo can be used{first}")
        names = [path.parent.name for path in embeddings]
        gallery = make_gallery(names, np.stack(list(embeddings.values())))
        absent = [person for person in folders if person.name not in gallery.people]
        left_out += [LeftOut(str(person), "no usable photo") for person in absent]
        write_gallery(folder, gallery, model)
        write_provenance(folder, provenance(params={}, data={"model": model_digest(model)}))
        rows = [(str(Path(where).relative_to(root)), reason) for where, reason in left_out]
        write_rows(folder / FAILURES, ("file", "reason"), rows)
    searches = len(gallery.non_mated)
    print(
        f"enrolled {len(gallery.people)} people, {len(names)} photos; {searches} non-mated searches"
    )
    limit = choose_threshold(gallery.non_mated, len(gallery.people), None, None)
    if limit.refusal:
        print(f"lh2face identify will not decide: {limit.refusal}")
    warn(Console(), limit.doubts)
    for person in absent:
        print(printable(f"{person.name}: no usable photo, not enrolled"))
    if left_out:
        print(printable(f"{root}: left out {len(left_out)}, listed in {out / FAILURES}"))


def embed_photos(
    paths: Sequence[Path], read: Callable[[Path], np.ndarray], embedder: Embedder
) -> tuple[dict[Path, np.ndarray], list[LeftOut]]:
    """Embed photos; those that repeat an earlier photo are left out.

    Args:
        paths: Photos ``root/<identity>/*``, all photos of a person together.
        read: Function that returns the aligned face of a photo.
        embedder: The embedder.

    Returns:
        Embeddings ``(2, d)`` of the photos that can be used, and a list of the others.
    """
    embeddings, digests, left_out = {}, {}, []
    for path in track(paths, "embedding photos"):
        try:
            found = embedder(read(path)[None])
            directions(found, [path])
            digests[path] = hashlib.sha256(read_file(path)).digest()
            embeddings[path] = found[0]
        except ImageError as error:
            left_out.append(LeftOut(str(path), error.reason))
    for again in repeated(digests):
        del embeddings[Path(again.where)]
        left_out.append(again)
    return embeddings, left_out


def make_gallery(names: Sequence[str], embeddings: np.ndarray) -> Gallery:
    """Make a gallery from the embeddings of photos.

    Templates are pooled as in the IJB protocol, where each photo is a medium: a template is the
    normalised sum of a person's embeddings. To measure thresholds, each photo is searched among all
    other people.

    Args:
        names: Name of the person in each of the N photos.
        embeddings: ``(N, V, d)`` of image and mirror image, not normalised.

    Returns:
        The gallery.

    Raises:
        ValueError: If the embeddings of a person add up to zero.
    """
    known, labels, counts = np.unique(names, return_inverse=True, return_counts=True)
    sums, ids = pool_media(embeddings.sum(axis=1, dtype=np.float64), labels, np.arange(len(labels)))
    templates = directions(sums[:, None], known.tolist())
    others = best_others(templates, ids, directions(embeddings, names), labels)
    kappa = concentrations(embeddings)
    return Gallery(
        people=dict(zip(known.tolist(), counts.tolist(), strict=True)),
        kappa={
            "mean": float(kappa.mean()),
            "std": float(kappa.std()),
            # An observed value, not an interpolated one: this is right for few photos too.
            "p5": float(np.percentile(kappa, 5, method="lower")),
        },
        templates=templates,
        # If only one person is enrolled, there is nobody else to find.
        non_mated=others[others > -np.inf],
    )
