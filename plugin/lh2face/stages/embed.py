"""Stage ``embed``: compute a model's embeddings of a benchmark's aligned faces."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.artifacts.embeddings import EMBEDDINGS, EmbeddedBy, write_embeddings
from lh2face.data.benchmark import read_benchmark
from lh2face.embedding.aligned_faces import AlignedFaces
from lh2face.embedding.embedders import BATCH, open_embedder
from lh2face.embedding.kept import RECORD, KeptError, claim, embed_faces
from lh2face.files.outputs import atomic_dir, check_output, exclusive

if TYPE_CHECKING:
    from lh2face.params import Params

COMMAND = "lh2face embed"


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
    of the model and the dimension n of its head, which is null for a third-party model.

    Args:
        params: The parameters, which are not read: the model's folder has all that is needed.
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
            print(f"{error}; embedding begins again")
            record.blocks.clear()
            found = embed_faces(faces, rows, embedder, digest, work, record)
        with atomic_dir(target, [model, benchmark]) as folder:
            write_embeddings(folder, found, made_by)
        for name in (EMBEDDINGS, RECORD):
            (work / name).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: another process works there
        work.rmdir()


def rows_of(count: int, shard: int, shards: int) -> range:
    """Return the rows of a shard: the same batches as in a single job, so results are identical."""
    batches = -(-count // BATCH)
    start, stop = (BATCH * (batches * i // shards) for i in (shard, shard + 1))
    return range(start, min(stop, count))
