"""Provenance of results: in ``model.json`` of a model, otherwise in ``provenance.json``."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lh2face.files.digests import joined

PROVENANCE = "provenance.json"
PACKAGES = ("lh2face", "torch", "mmengine", "numpy", "opencv-python")


def provenance(*, params: Any, data: dict[str, str], seed: int | None = None) -> dict[str, Any]:
    """Collect what a result depends on.

    Args:
        params: The parameters that the result depends on, JSON types only.
        data: Digests of the input files by name, from :func:`~lh2face.files.digests.digests`.
        seed: Seed of the run.

    Returns:
        ``commit`` (ends in "+" if tracked files were changed; None outside of git), ``params``,
        ``params_digest``, ``data``, ``seed``, ``device``, and ``versions`` of packages.
    """
    return {
        "commit": commit(),
        "params": json.loads(json.dumps(params, sort_keys=True)),
        "params_digest": joined(params),
        "data": data,
        "seed": seed,
        "device": device(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def write_provenance(folder: Path, made: dict[str, Any]) -> None:
    """Write the :func:`provenance` of a result into its folder."""
    (folder / PROVENANCE).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def people_behind(found: dict[str, Any], path: Path) -> int | None:
    """Return the number of ``people`` behind a result; ``None`` if it is not recorded.

    Args:
        found: Provenance of the result, or another record with the key ``people``.
        path: The file, for the message.

    Raises:
        ValueError: If the value is not an integer above 0.
    """
    people = found.get("people")
    if people is not None and (type(people) is not int or people < 1):
        raise ValueError(f"{path}: people: expected a whole number above 0, found {people!r:.80}")
    return people


def commit() -> str | None:
    """Return the git commit of the working directory; None outside of git, or without git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return None
    return described.stdout.strip() or None


def device() -> str:
    """Return the name of the GPU that computes, or "cpu"."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
