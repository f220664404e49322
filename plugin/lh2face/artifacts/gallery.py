"""The folder of a gallery of enrolled people: ``gallery.json`` and ``templates.safetensors``."""

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from lh2face.artifacts.model import model_digest
from lh2face.files.digests import digest
from lh2face.files.json_object import read_object

RECORD, TEMPLATES = "gallery.json", "templates.safetensors"


@dataclass(frozen=True)
class Gallery:
    """Enrolled people, among whom a photo is searched.

    Attributes:
        people: Number of photos by the person's name, in the order of the templates.
        kappa: ``mean``, ``std`` and ``p5`` (5th percentile) of the κ of the photos.
        templates: ``(G, d)`` float64 unit vectors, one per person.
        non_mated: ``(Q,)`` float64, the highest score of each search for a person who was left out
            of the gallery.
    """

    people: dict[str, int]
    kappa: dict[str, float]
    templates: np.ndarray
    non_mated: np.ndarray


def write_gallery(folder: Path, gallery: Gallery, model: Path) -> None:
    """Write a gallery into a folder, with the digest of the model that embedded its photos."""
    arrays = {"templates": gallery.templates, "non_mated": gallery.non_mated}
    # safetensors' save_file would raise its own exception class on a full disk, not OSError.
    (folder / TEMPLATES).write_bytes(save(arrays))
    record = {
        "model": model_digest(model),
        "templates": digest(folder / TEMPLATES),
        "people": gallery.people,
        "kappa": gallery.kappa,
        "non_mated_searches": len(gallery.non_mated),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def read_gallery(folder: Path, model: Path) -> Gallery:
    """Read the gallery that :func:`write_gallery` wrote into a folder.

    Args:
        folder: The folder.
        model: The model to search with.

    Raises:
        ValueError: If a file is absent or damaged, or the people were enrolled with another model.
    """
    path, file = folder / RECORD, folder / TEMPLATES
    record = read_object(path, "a folder of lh2face enrol")
    try:
        people, kappa = dict(record["people"]), dict(record["kappa"])
        made_with, kept = str(record["model"]), record["templates"]
        good = isfinite(kappa["p5"])
    except (KeyError, TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f"{path}: expected model, templates, people and kappa, as lh2face enrol writes them; "
            "enrol the people again"
        )
    if made_with != (own := model_digest(model)):
        raise ValueError(
            f"{path}: the people were enrolled with another model: its weights have the digest "
            f"{made_with[:12]}, those of {model} have {own[:12]}"
        )
    if not file.is_file():
        raise ValueError(f"{file}: no such file; expected a folder of lh2face enrol")
    try:
        # The digest is checked first, so that only the file written with this record is parsed.
        arrays = load_file(file) if digest(file) == kept else {}
        gallery = Gallery(people, kappa, arrays["templates"], arrays["non_mated"])
        lengths = np.linalg.norm(gallery.templates, axis=1)
        whole = lengths.shape == (len(people),) and np.allclose(lengths, 1)
    except (SafetensorError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(
            f"{file}: damaged, or not the file that belongs to {RECORD}; enrol the people again"
        )
    return gallery
