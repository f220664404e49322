"""A trained model as an ONNX file that insightface's ``model_zoo`` loads."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lh2face.artifacts.calibration import calibration, read_metrics
from lh2face.artifacts.model import load_model, read_description
from lh2face.artifacts.model_card import model_card
from lh2face.data.align import TEMPLATE_SIZE
from lh2face.files.outputs import atomic_files
from lh2face.onnx.files import write_metadata
from lh2face.text import check_utf8

OPSET = 17


class AreaResize(nn.Module):
    """From aligned faces at 112 px to the size a network reads, as in training.

    Training shrinks the 8-bit image with OpenCV's ``INTER_AREA`` before it normalises it. Up to
    the rounding to 8 bits that is linear, so here it is two matrix products with OpenCV's own
    weights, and the same rounding (half to even): the network sees the pixels it was trained on.
    Enlarging is another matter: OpenCV then rounds between the two axes too.

    Args:
        size: Side of the result, px; less than 112.
    """

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

    insightface takes a file with one output and one static square input for a recognizer, and
    feeds it RGB as (x − 127.5) / 127.5. The input here is always 112 px, what alignment gives; a
    model that reads a smaller size shrinks inside. Embeddings are not normalised: κ is their norm.
    The file's metadata are the model's description and, of an evaluation with pairs of single
    photos, its calibration, as JSON.

    Args:
        checkpoint: Folder of a trained model.
        out: File to write; the model card has its name and ends in ``.md``.
        evaluation: Folder of stage ``evaluate`` or of ``lh2face evaluate-ijb``, of this model.

    Raises:
        ValueError: If a folder is not what it should be, the model reads more than 112 px
            or a reconstruction beside the image, or ``out`` does not end in ``.onnx``.
    """
    if out.suffix != ".onnx":
        raise ValueError(f"out: expected a name that ends in .onnx, found {str(out)!r}")
    check_utf8(out)
    import onnx  # noqa: F401  (torch's exporter says what it lacks only after its work)

    description = read_description(checkpoint)
    image_size = description["image_size"]
    if image_size > TEMPLATE_SIZE:
        raise ValueError(
            f"{checkpoint}: image_size: only up to {TEMPLATE_SIZE}, the size of aligned faces, can "
            f"be exported exactly, found {image_size}"
        )
    fusion = description["recognizer"].get("fusion", "none")
    if fusion != "none":
        raise ValueError(
            f"{checkpoint}: fusion: only 'none' can be exported, found {fusion!r}: it needs the "
            "reconstructor, which ONNX's operators do not cover"
        )
    metrics, more = None, {}
    if evaluation is not None:
        metrics = read_metrics(evaluation, checkpoint)
        if known := calibration(metrics, evaluation):
            more = {"calibration": known}
    model = load_model(checkpoint)
    if image_size < TEMPLATE_SIZE:
        model = nn.Sequential(AreaResize(image_size), model).eval()
    written = [out.name, out.with_suffix(".md").name]
    given = [checkpoint, evaluation]
    with atomic_files(out.parent, written, given) as folder, warnings.catch_warnings():
        file, card = (folder / name for name in written)
        # The exporter that PyTorch recommends instead needs packages of its own.
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
