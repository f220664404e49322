"""From aligned faces to embeddings, by an ONNX file or by a trained model's folder."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

# From aligned RGB faces (B, 112, 112, 3) uint8 to embeddings (B, 2, d) of image and mirror image.
Embedder = Callable[[np.ndarray], np.ndarray]


def open_embedder(path: Path) -> Embedder:
    """:func:`onnx_embedder` of a file, :func:`checkpoint_embedder` of a folder.

    Raises:
        ValueError: As those.
    """
    return (checkpoint_embedder if path.is_dir() else onnx_embedder)(path)


def onnx_embedder(path: Path) -> Embedder:
    """Embeddings by insightface's own loader, which knows what its models expect.

    Raises:
        ValueError: If the file is not a recognition model.
    """
    from insightface import model_zoo
    from onnxruntime import get_available_providers

    model = model_zoo.get_model(str(path), providers=get_available_providers())
    if getattr(model, "taskname", None) != "recognition":
        raise ValueError(f"{path}: not a recognition model of insightface's model_zoo")

    def embed(faces: np.ndarray) -> np.ndarray:
        bgr = faces[..., ::-1]
        both = model.get_feat([*np.ascontiguousarray(bgr), *np.ascontiguousarray(bgr[:, :, ::-1])])
        return both.reshape(2, len(faces), -1).swapaxes(0, 1)

    return embed


def checkpoint_embedder(path: Path) -> Embedder:
    """Embeddings by a trained model's folder."""
    from mmengine.device import get_device

    from lh2face.artifacts.model import load_model, read_description
    from lh2face.stages.embed import embed_images

    recognizer, size = load_model(path, get_device()), read_description(path)["image_size"]

    def embed(faces: np.ndarray) -> np.ndarray:
        shape = (size, size)
        resized = [cv2.resize(face, shape, interpolation=cv2.INTER_AREA) for face in faces]
        return embed_images(recognizer, np.stack(resized))

    return embed
