"""The embeddings of a benchmark's faces, in shards: stage ``embed`` writes them."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lh2face.files.arrays import read_array
from lh2face.files.json_object import read_object, whole

EMBEDDINGS, EMBEDDED_BY = "embeddings.npy", "embedded_by.json"


class EmbeddedBy(NamedTuple):
    """The model that made embeddings.

    Attributes:
        model: Its digest; None if not known.
        vmf_dim: n, the dimension of its head's vMF distribution, at least 2; None if not known.
    """

    model: str | None = None
    vmf_dim: int | None = None


def write_embeddings(folder: Path, embeddings: np.ndarray, made_by: EmbeddedBy) -> None:
    """Write the embeddings ``(N, 2, d)`` of a shard, and the model that made them."""
    (folder / EMBEDDED_BY).write_text(json.dumps(made_by._asdict()) + "\n", "utf-8")
    np.save(folder / EMBEDDINGS, embeddings)


def read_embeddings(folder: Path) -> np.ndarray:
    """Read the embeddings ``(N, 2, d)`` that stage ``embed`` wrote, of all shards.

    Raises:
        ValueError: If there are none, a shard is missing, or one is not as
            :func:`write_embeddings` writes it.
    """
    found = [path for path in folder.glob(f"*/{EMBEDDINGS}") if path.parent.name.isdecimal()]
    if not found:
        raise ValueError(f"{folder}: no */{EMBEDDINGS}; expected a folder of stage embed")
    paths = [folder / str(shard) / EMBEDDINGS for shard in range(len(found))]
    if missing := set(paths) - set(found):
        raise ValueError(f"{min(missing)}: no such file, but there are {len(found)} shards")
    shards = [read_array(path) for path in paths]
    for path, shard in zip(paths, shards, strict=True):
        fits = shard.ndim == 3 and shard.shape[1:] == (2, *shards[0].shape[2:])
        if shard.dtype.kind != "f" or not fits:
            raise ValueError(
                f"{path}: expected floats (N, 2, d), d the same in each shard, "
                f"found {shard.dtype} {shard.shape}"
            )
    return np.concatenate(shards)


def embedded_by(folder: Path) -> EmbeddedBy:
    """Return the model that made the embeddings; its fields are None if no shard names it.

    Raises:
        ValueError: If the shards are from more than one model, or a record is not as
            :func:`write_embeddings` writes it.
    """
    found = {_read_record(path) for path in sorted(folder.glob(f"*/{EMBEDDED_BY}"))}
    if len(found) > 1:
        raise ValueError(f"{folder}: its shards were embedded by {len(found)} models; embed again")
    return next(iter(found), EmbeddedBy())


def _read_record(path: Path) -> EmbeddedBy:
    """Read the record of one shard."""
    values = read_object(path, "a folder of stage embed")
    model, dim = values.get("model"), values.get("vmf_dim")
    if not isinstance(model, str | None):
        raise ValueError(f"{path}: model: expected a digest, found {model!r:.100}")
    return EmbeddedBy(model, None if dim is None else whole(dim, path, "vmf_dim", 2))
