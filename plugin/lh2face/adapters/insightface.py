"""Export a trained model to an ONNX file that insightface's ``model_zoo`` can load."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lh2face.artifacts.model import load_model, read_description
from lh2face.artifacts.model_card import model_card
from lh2face.artifacts.thresholds import read_metrics, thresholds_of
from lh2face.data.align import TEMPLATE_SIZE
from lh2face.files.outputs import atomic_files
from lh2face.onnx.files import write_metadata
from lh2face.text import check_utf8

OPSET = 17


class AreaResize(nn.Module):
    """Shrink aligned faces of 112 px to the size that a network reads, exactly as in training.

    Training shrinks the 8-bit image with OpenCV's ``INTER_AREA`` and then normalises it. Apart from
    the rounding to 8 bits, shrinking is linear. So this module multiplies by OpenCV's weights along
    both axes and then rounds in the same way (half to even). It cannot enlarge images, because then
    OpenCV also rounds between the two axes.

    Args:
        size: Side of the result in px, below 112.
    """

    weights: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        identity = np.eye(TEMPLATE_SIZE, dtype=np.float32)
        weights = cv2.resize(identity, (TEMPLATE_SIZE, size), interpolation=cv2.INTER_AREA)
        self.register_buffer("weights", torch.from_numpy(weights))

    def forward(self, images: Tensor) -> Tensor:
        """``(B, 3, 112, 112)`` in [−1, 1] -> ``(B, 3, size, size)``."""
        pixels = self.weights @ ((images + 1) * 127.5) @ self.weights.T
        return pixels.round() / 127.5 - 1


def export_onnx(checkpoint: Path, out: Path, evaluation: Path | None = None) -> None:
    """Write a trained model for ``insightface.model_zoo.get_model``, and its model card beside it.

    insightface treats a file with one output and one static square input as a recognizer, and feeds
    it RGB images as (x − 127.5) / 127.5. The input is always 112 px, the size of aligned faces; for
    a model with a smaller input, the file contains the resizing. The embeddings are not normalised:
    their norm is κ. The file's metadata have, as JSON, the model's description and, if an
    evaluation with pairs of single photos is given, the thresholds from it.

    Args:
        checkpoint: Folder of a trained model.
        out: File to write, ``NAME.onnx``; the model card is ``NAME.md``.
        evaluation: Folder in which stage ``evaluate`` or ``lh2face evaluate-ijb`` has evaluated
            this model.

    Raises:
        ValueError: If a folder does not have the expected content, the model reads more than 112 px
            or needs a reconstruction beside the image, or ``out`` does not end in ``.onnx``.
    """
    if out.suffix != ".onnx":
        raise ValueError(f"out: expected a name that ends in .onnx, found {str(out)!r}")
    check_utf8(out)
    import onnx  # noqa: F401  (fails early; torch's exporter needs it only at its end)

    description = read_description(checkpoint)
    image_size = description["image_size"]
    if image_size > TEMPLATE_SIZE:
        raise ValueError(
            f"{checkpoint}: image_size: expected at most {TEMPLATE_SIZE}, the size of aligned "
            f"faces, found {image_size}; larger inputs cannot be exported"
        )
    fusion = description["recognizer"].get("fusion", "none")
    if fusion != "none":
        raise ValueError(
            f"{checkpoint}: fusion: expected 'none', found {fusion!r}; fusion needs the "
            "reconstructor, which cannot be exported to ONNX"
        )
    metrics, more = None, {}
    if evaluation is not None:
        metrics = read_metrics(evaluation, checkpoint)
        if known := thresholds_of(metrics, evaluation):
            more = {"thresholds": known}
    model: nn.Module = load_model(checkpoint)
    if image_size < TEMPLATE_SIZE:
        model = nn.Sequential(AreaResize(image_size), model).eval()
    written = [out.name, out.with_suffix(".md").name]
    given = [checkpoint, evaluation]
    with atomic_files(out.parent, written, given) as folder, warnings.catch_warnings():
        file, card = (folder / name for name in written)
        # The newer exporter, which the warning recommends, needs further packages.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, TEMPLATE_SIZE, TEMPLATE_SIZE),),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["embeddings"],
            dynamic_axes={"images": {0: "batch"}, "embeddings": {0: "batch"}},
        )
        write_metadata(file, {**description, **more})
        text = model_card(out.stem, description, metrics)
        card.write_text(text, encoding="utf-8", errors="backslashreplace")
