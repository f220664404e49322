"""Stage ``embed``: a trained model and aligned faces to embeddings."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lh2face.stages.files import atomic_dir

if TYPE_CHECKING:
    from lh2face.recognizers import FaceRecognizer
    from lh2face.stages.params import Params

BATCH = 64


def run(params: "Params", model: Path, aligned_benchmark: Path, out: Path) -> None:
    """Embed the benchmark's faces and the images of its verification bins.

    Args:
        params: The parameters; none are read: the model's folder says all there is to know.
        model: Folder of a trained model.
        aligned_benchmark: Folder with ``faces.rec``, ``faces.idx`` and ``bins/<name>.bin``.
        out: Folder to write: ``benchmark.npy`` ``(N, 2, d)`` float32, row i for key i + 1 of
            ``faces.idx``, and ``bins/<name>.npy`` ``(2n, 2, d)``; index 1 is image and mirror.

    Raises:
        ValueError: If the model cannot be loaded or an image cannot be decoded.
    """
    from mmengine.device import get_device

    from lh2face.data.recordio import RecordReader
    from lh2face.data.verification_bin import read_bin
    from lh2face.stages.model import load_model, read_description

    recognizer = load_model(model, get_device())
    size = read_description(model)["image_size"]
    with atomic_dir(out) as folder:
        path = aligned_benchmark / "faces.rec"
        reader = RecordReader(path)
        embeddings = embed(recognizer, len(reader), lambda i: reader[i + 1][1], size, str(path))
        np.save(folder / "benchmark.npy", embeddings)
        (folder / "bins").mkdir()
        for path in sorted((aligned_benchmark / "bins").glob("*.bin")):
            images, _ = read_bin(path)
            embeddings = embed(recognizer, len(images), images.__getitem__, size, str(path))
            np.save(folder / "bins" / f"{path.stem}.npy", embeddings)


def embed(
    recognizer: "FaceRecognizer",
    count: int,
    read: Callable[[int], bytes],
    size: int,
    source: str,
) -> np.ndarray:
    """Embed encoded images and their mirror images.

    Args:
        recognizer: In evaluation mode.
        count: Number of images N.
        read: From a position 0 … N − 1 to the encoded image.
        size: Side of the network's input, px.
        source: Where the images come from, for messages.

    Returns:
        ``(N, 2, d)`` float32: of the image and of its mirror image.
    """
    from lh2face.data.datasets import decode_rgb
    from lh2face.progress import progress

    batches = []
    with closing(progress(f"embedding {source}", count)) as shown:
        for start in range(0, count, BATCH):
            rows = range(start, min(start + BATCH, count))
            images = [decode_rgb(read(i), size, f"{source}: image {i}") for i in rows]
            batches.append(embed_images(recognizer, np.stack(images)))
            shown.advance(len(rows))
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
