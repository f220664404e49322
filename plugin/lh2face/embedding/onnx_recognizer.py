"""Recognition models in ONNX files, of this project or of others, run by onnxruntime.

The rules of insightface's ``model_zoo`` decide which files are recognizers and how their input is
normalised, so the embeddings equal those of its ``get_feat``. In addition, this module supports
files with a batch size of 1, with half or double precision, and with a second output for the norm.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lh2face.data.align import TEMPLATE_SIZE
from lh2face.onnx.files import OnnxError, read_onnx
from lh2face.onnx.session import onnx_errors, open_session
from lh2face.text import printable

BATCH = 64
FLOATS = {
    "tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(double)": np.float64,
}  # fmt: skip
# insightface treats a file with this input size as a landmark model.
LANDMARKS_SIZE = 192
# Tolerance for a norm of 1, enough for half precision.
UNIT = 1e-3
INPUT = (
    "expected one input (batch, 3, S, S) of floats, with a dynamic batch or batch 1, and S a fixed "
    f"multiple of 16, at least {TEMPLATE_SIZE} and not {LANDMARKS_SIZE} (landmark models)"
)
OUTPUT = "expected an embedding (batch, d) of floats and optionally its norm (batch, 1)"


def open_recognizer(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Open a recognition model.

    Args:
        path: The file.

    Returns:
        A function from aligned faces ``(B, 112, 112, 3)`` uint8 RGB to embeddings ``(B, d)``
        float32, not normalised. If the file returns unit embeddings and their norms, the function
        returns the products. It raises OnnxError if onnxruntime fails.

    Raises:
        OnnxError: If the file is not a recognition model, or onnxruntime cannot run it.
    """
    nodes = [node.name for node in read_onnx(path).graph.node[:8]]
    session = open_session(path)
    given, size, batch = _input(path, session.get_inputs())
    names = _outputs(path, session.get_outputs())
    mean, scale = normalisation(nodes)

    def embed(faces: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(faces), batch):
            images = list(faces[start : start + batch])
            blob = cv2.dnn.blobFromImages(images, scale, (size, size), (mean, mean, mean))
            with onnx_errors(path):
                outputs = session.run(names, {given.name: blob.astype(FLOATS[given.type])})
            parts.append(_embeddings(path, outputs, len(images)))
        return np.concatenate(parts)

    embed(np.zeros((1, TEMPLATE_SIZE, TEMPLATE_SIZE, 3), np.uint8))
    return embed


def normalisation(names: Sequence[str]) -> tuple[float, float]:
    """Choose the normalisation of pixels in 0 … 255 by insightface's rule.

    Args:
        names: Names of the graph's first eight nodes. If there is a subtraction and a
            multiplication among them, the file normalises its input itself.

    Returns:
        The mean to subtract, and then the factor to multiply by.
    """
    subtracts = any(name.startswith(("Sub", "_minus")) for name in names)
    multiplies = any(name.startswith(("Mul", "_mul")) for name in names)
    return (0.0, 1.0) if subtracts and multiplies else (127.5, 1 / 127.5)


def _input(path: Path, inputs: Sequence[Any]) -> tuple[Any, int, int]:
    """Check the inputs; return the only one, the side of its images in px, and its batch size."""
    found = " and ".join(map(_format, inputs)) or "none"
    match [(given.type in FLOATS, given.shape) for given in inputs]:
        case [(True, [batch, 3, int(height), int(width)])] if (
            (batch == 1 or not isinstance(batch, int))
            and height == width != LANDMARKS_SIZE
            and height >= TEMPLATE_SIZE
            and height % 16 == 0
        ):
            return inputs[0], height, 1 if batch == 1 else BATCH
    raise OnnxError(f"{path}: not a recognition model: {INPUT}; found {found}")


def _outputs(path: Path, outputs: Sequence[Any]) -> list[str]:
    if not 1 <= len(outputs) <= 2 or any(given.type not in FLOATS for given in outputs):
        found = ", ".join(map(_format, outputs[:3])) + ", …" * (len(outputs) > 3)
        raise OnnxError(
            f"{path}: not a recognition model: {OUTPUT}; found {len(outputs)} outputs: {found}"
        )
    return [given.name for given in outputs]


def _embeddings(path: Path, outputs: Sequence[np.ndarray], faces: int) -> np.ndarray:
    """Find the embeddings ``(faces, d)`` among the outputs, multiplied by their norms if given."""
    # Axes of length 1 are allowed; an output with two longer axes, as of an image, is not.
    rows = [
        out.reshape(faces, -1) if out.shape[:1] == (faces,) and _is_row(out[0]) else out
        for out in outputs
    ]
    match sorted(rows, key=np.size, reverse=True):
        case [embeddings, *norms] if (
            embeddings.ndim == 2
            and len(embeddings) == faces
            and embeddings.shape[1] > 1
            and all(norm.shape == (faces, 1) for norm in norms)
        ):
            embeddings = embeddings.astype(np.float32)
            lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
            for norm in norms:
                embeddings *= np.where(abs(lengths - 1) < UNIT, norm, 1)
            return embeddings
    found = " and ".join(str(out.shape) for out in outputs)
    raise OnnxError(f"{path}: not a recognition model: {OUTPUT}; found {found} for {faces} faces")


def _is_row(values: np.ndarray) -> bool:
    return values.size == max(values.shape, default=1)


def _format(given: Any) -> str:
    """Describe an input or output, such as ``images (batch, 3, 112, 112) float``."""
    shape = ", ".join("?" if side is None else str(side) for side in given.shape)
    return printable(f"{given.name} ({shape}) {given.type.removeprefix('tensor(').rstrip(')')}")
