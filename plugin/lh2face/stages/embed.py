"""Stage ``embed``: compute a model's embeddings of a benchmark's aligned faces."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lh2face.data.benchmark import read_benchmark
from lh2face.embedding.embedders import BATCH, open_embedder
from lh2face.embedding.faces import AlignedFaces
from lh2face.embedding.kept import EMBEDDINGS, RECORD, KeptError, claim, embed_faces
from lh2face.files.arrays import read_array
from lh2face.files.json_object import read_object, whole
from lh2face.files.outputs import atomic_dir, check_output, exclusive

if TYPE_CHECKING:
    from lh2face.params import Params

COMMAND = "lh2face embed"
EMBEDDED_BY = "embedded_by.json"


class EmbeddedBy(NamedTuple):
    """The model that made embeddings.

    Attributes:
        model: Its digest; None if not known.
        vmf_dim: n, the dimension of its head's vMF distribution, at least 2; None if not known.
    """

    model: str | None = None
    vmf_dim: int | None = None


def run(
    params: "Params",
    model: Path,
    benchmark: Path,
    out: Path,
    *,
    shard: int = 0,
    shards: int = 1,
) -> None:
    """Embed the faces of a benchmark, or one shard of them.

    The concatenated shards are equal, bit for bit, to the result of a single job. Finished work is
    kept in ``<out>/<shard>.work``, and an interrupted run continues from there.

    The folder ``<out>/<shard>`` gets ``embeddings.npy``, ``(N, 2, d)`` float32 in the order of the
    faces, where axis 1 is the image and its mirror image; and ``embedded_by.json`` with the digest
    of the model and with n of its head, which is null for a model of others.

    Args:
        params: The parameters; none are read, because the model's folder has all that is needed.
        model: Folder of a trained model, or a recognition ONNX file.
        benchmark: Folder of stage ``align_benchmark``.
        out: Folder in which the folder of the shard is written.
        shard: Number of the shard, 0 … shards − 1.
        shards: Number of shards.

    Raises:
        ValueError: If the model cannot be loaded, an image cannot be decoded, an embedding is not
            finite, or there is no such shard.
    """
    from lh2face.artifacts.model import head_dim, model_digest

    if not 0 <= shard < shards:
        raise ValueError(f"shard: expected 0 … {shards - 1}, found {shard}")
    target, work = out / str(shard), out / f"{shard}.work"
    check_output(target, [model, benchmark])
    faces, digest = AlignedFaces(read_benchmark(benchmark)), model_digest(model)
    embedder, made_by = open_embedder(model), EmbeddedBy(digest, head_dim(model))
    rows = rows_of(len(faces.faces), shard, shards)
    with exclusive(work):
        try:
            record = claim(work, [EMBEDDINGS], COMMAND)
            found = embed_faces(faces, rows, embedder, digest, work, record)
        except KeptError as error:
            print(f"{error}; begins again")
            record.blocks.clear()
            found = embed_faces(faces, rows, embedder, digest, work, record)
        with atomic_dir(target, [model, benchmark]) as folder:
            (folder / EMBEDDED_BY).write_text(json.dumps(made_by._asdict()) + "\n", "utf-8")
            np.save(folder / EMBEDDINGS, found)
        for name in (EMBEDDINGS, RECORD):
            (work / name).unlink(missing_ok=True)
    with suppress(OSError):  # another process has begun
        work.rmdir()


def rows_of(count: int, shard: int, shards: int) -> range:
    """Return the rows of a shard: the same batches as in a single job, so results are identical."""
    batches = -(-count // BATCH)
    start, stop = (BATCH * (batches * i // shards) for i in (shard, shard + 1))
    return range(start, min(stop, count))


def read_embeddings(folder: Path) -> np.ndarray:
    """Read the embeddings ``(N, 2, d)`` that :func:`run` wrote, of all shards.

    Raises:
        ValueError: If there are none, a shard is missing, or one is not as :func:`run` writes it.
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
    """Return the model that made the embeddings; nothing is known of it if no shard says it.

    Raises:
        ValueError: If the shards are from more than one model, or a record is not as :func:`run`
            writes it.
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
