"""Embedding of aligned faces by an ONNX file or a trained model's folder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lh2face.artifacts.file_names import ONNX
from lh2face.data.images import ImageError

if TYPE_CHECKING:
    from lh2face.recognizers import FaceRecognizer

# Batch size; the same everywhere, because results can differ in the last bits between batch sizes.
BATCH = 64
# A function from aligned RGB faces (B, 112, 112, 3) uint8 to the embeddings (B, 2, d) of each image
# and its mirror image.
Embedder = Callable[[np.ndarray], np.ndarray]


def open_embedder(path: Path) -> Embedder:
    """Open an ONNX file, a trained model's folder, or a folder of stage ``other``.

    Raises:
        ValueError: If it cannot be read as one of these.
    """
    if (path / ONNX).is_file():
        path = path / ONNX
    return (checkpoint_embedder if path.is_dir() else onnx_embedder)(path)


def onnx_embedder(path: Path) -> Embedder:
    """Open a recognition model in an ONNX file.

    Raises:
        ValueError: If :func:`~lh2face.embedding.onnx_recognizer.open_recognizer` raises it.
    """
    from lh2face.embedding.onnx_recognizer import open_recognizer

    recognizer = open_recognizer(path)

    def embed(faces: np.ndarray) -> np.ndarray:
        mirrored = faces[:, :, ::-1]
        return np.stack([recognizer(faces), recognizer(mirrored)], axis=1)

    return embed


def checkpoint_embedder(path: Path) -> Embedder:
    """Open a trained model's folder; the model runs on the GPU if there is one."""
    from mmengine.device import get_device

    from lh2face.artifacts.model import load_model, read_description

    recognizer, size = load_model(path, get_device()), read_description(path)["image_size"]

    def embed(faces: np.ndarray) -> np.ndarray:
        shape = (size, size)
        resized = [cv2.resize(face, shape, interpolation=cv2.INTER_AREA) for face in faces]
        return embed_images(recognizer, np.stack(resized))

    return embed


def check_finite(embeddings: np.ndarray, names: Sequence[object]) -> None:
    """Check that every embedding is finite.

    Args:
        embeddings: ``(N, V, d)``: V embeddings per face.
        names: Names of the N faces, for the message.

    Raises:
        ImageError: If one is not finite; the message names the face.
    """
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=(1, 2)))
    if bad.size:
        raise ImageError(names[bad[0]], "the model's embedding of this face is not finite")


def directions(embeddings: np.ndarray, names: Sequence[object]) -> np.ndarray:
    """Sum the embeddings of each face, and normalise to unit vectors ``(N, d)`` float64.

    Args:
        embeddings: ``(N, V, d)``: V embeddings per face, such as those of image and mirror image.
        names: Names of the N faces, for the message.

    Raises:
        ImageError: If an embedding is not finite, or a sum is zero and so has no direction.
    """
    check_finite(embeddings, names)
    sums = embeddings.sum(axis=1, dtype=np.float64)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    zero = np.flatnonzero(lengths == 0)
    if zero.size:
        raise ImageError(names[zero[0]], "the model's embedding of this face is zero")
    unit: np.ndarray = sums / lengths
    return unit


def embed_images(recognizer: "FaceRecognizer", images: np.ndarray) -> np.ndarray:
    """Embed images and their mirror images.

    Args:
        recognizer: A recognizer in evaluation mode.
        images: ``(N, S, S, 3)`` uint8 RGB; S is the side of the network's input.

    Returns:
        ``(N, 2, d)`` float32: the embeddings of each image and of its mirror image.
    """
    import torch

    from lh2face.recognizers.preprocessor import normalize_images

    device = next(recognizer.parameters()).device
    batches = []
    with torch.inference_mode():
        for pixels in torch.split(torch.from_numpy(images).permute(0, 3, 1, 2), BATCH):
            inputs = normalize_images(pixels.to(device))
            batches.append(torch.stack(recognizer(inputs, mode="predict")).cpu().numpy())
    return np.concatenate(batches)
