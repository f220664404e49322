"""Stage ``embed``: a trained model and aligned faces to embeddings."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lh2face.artifacts.json_object import read_object
from lh2face.artifacts.outputs import atomic_dir
from lh2face.data.arrays import read_array

if TYPE_CHECKING:
    from lh2face.recognizers import FaceRecognizer
    from lh2face.stages.params import Params

BATCH = 64
EMBEDDED_BY = "embedded_by.json"


def run(
    params: "Params",
    model: Path,
    aligned_benchmark: Path,
    out: Path,
    *,
    shard: int = 0,
    shards: int = 1,
) -> None:
    """Embed the benchmark's faces and the images of its verification bins, or a part of each.

    The parts of all shards, one after the other, are what a single one would write, bit for bit.

    Args:
        params: The parameters; none are read: the model's folder says all there is to know.
        model: Folder of a trained model.
        aligned_benchmark: Folder with ``faces.rec``, ``faces.idx`` and ``bins/<name>.bin``.
        out: Folder in which the folder ``<shard>`` is written: ``benchmark.npy`` ``(N, 2, d)``
            float32, row i for key i + 1 of ``faces.idx``, and ``bins/<name>.npy`` ``(2n, 2, d)``;
            index 1 is image and mirror. ``embedded_by.json`` says by which model.
        shard: Which part, from 0.
        shards: Number of parts.

    Raises:
        ValueError: If the model cannot be loaded, an image cannot be decoded, or there is no such
            shard.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard: expected 0 … {shards - 1}, found {shard}")
    from mmengine.device import get_device

    from lh2face.artifacts.model import load_model, model_digest, read_description
    from lh2face.data.recordio import RecordReader
    from lh2face.data.verification_bin import read_bin

    recognizer = load_model(model, get_device())
    description = read_description(model)
    with atomic_dir(out / str(shard), [model, aligned_benchmark]) as folder:
        (folder / EMBEDDED_BY).write_text(
            json.dumps({"model": model_digest(model)}) + "\n", "utf-8"
        )
        path = aligned_benchmark / "faces.rec"
        reader = RecordReader(path)
        rows = part(len(reader), shard, shards)
        embeddings = embed(recognizer, rows, lambda i: reader[i + 1][1], description, str(path))
        np.save(folder / "benchmark.npy", embeddings)
        (folder / "bins").mkdir()
        for path in sorted((aligned_benchmark / "bins").glob("*.bin")):
            images, _ = read_bin(path)
            rows = part(len(images), shard, shards)
            embeddings = embed(recognizer, rows, images.__getitem__, description, str(path))
            np.save(folder / "bins" / f"{path.stem}.npy", embeddings)


def part(count: int, shard: int, shards: int) -> range:
    """The rows of a shard: whole batches, as a single job would make them, so that bits agree."""
    batches = -(-count // BATCH)
    start, stop = (BATCH * (batches * i // shards) for i in (shard, shard + 1))
    return range(start, min(stop, count))


def read_embeddings(folder: Path, name: str) -> np.ndarray:
    """A file of :func:`run`, all shards of it.

    Raises:
        ValueError: If there is none, a shard is missing, or one is not what :func:`run` writes.
    """
    found = list(folder.glob(f"*/{name}"))
    if not found:
        raise ValueError(f"{folder}: no */{name}; expected a folder of stage embed")
    paths = [folder / str(shard) / name for shard in range(len(found))]
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


def embedded_by(folder: Path) -> str | None:
    """Digest of the model that made the embeddings of :func:`run`; ``None`` where no shard says.

    Raises:
        ValueError: If the shards are of more than one model.
    """
    records = sorted(folder.glob(f"*/{EMBEDDED_BY}"))
    found = {read_object(path, "a folder of stage embed").get("model") for path in records}
    if len(found) > 1:
        raise ValueError(f"{folder}: its shards were embedded by {len(found)} models; embed again")
    return next(iter(found), None)


def embed(
    recognizer: "FaceRecognizer",
    rows: range,
    read: Callable[[int], bytes],
    description: dict[str, Any],
    source: str,
) -> np.ndarray:
    """Embed encoded images and their mirror images.

    Args:
        recognizer: In evaluation mode.
        rows: Positions of the N images.
        read: From a position to the encoded image.
        description: The model's ``image_size`` in px, and ``embedding_size``.
        source: Where the images come from, for messages.

    Returns:
        ``(N, 2, d)`` float32: of the image and of its mirror image.
    """
    from lh2face.data.images import decode_rgb
    from lh2face.progress import progress

    batches = [np.empty((0, 2, description["embedding_size"]), np.float32)]
    with closing(progress(f"embedding {source}", len(rows))) as shown:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            images = [
                decode_rgb(read(i), description["image_size"], f"{source}: image {i}")
                for i in batch
            ]
            batches.append(embed_images(recognizer, np.stack(images)))
            shown.advance(len(batch))
    return np.concatenate(batches)


def embed_images(recognizer: "FaceRecognizer", images: np.ndarray) -> np.ndarray:
    """Embed images and their mirror images.

    Args:
        recognizer: In evaluation mode.
        images: ``(N, S, S, 3)`` uint8 RGB, S the side of the network's input.

    Returns:
        ``(N, 2, d)`` float32: of the image and of its mirror image.
    """
    import torch

    from lh2face.recognizers.preprocessor import normalize_images

    device = next(recognizer.parameters()).device
    batches = []
    with torch.inference_mode():
        for pixels in torch.from_numpy(images).permute(0, 3, 1, 2).split(BATCH):
            inputs = normalize_images(pixels.to(device))
            both = recognizer(torch.cat([inputs, inputs.flip(3)]))
            batches.append(both.view(2, len(pixels), -1).transpose(0, 1).cpu().numpy())
    return np.concatenate(batches)
