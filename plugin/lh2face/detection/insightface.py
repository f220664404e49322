"""Detectors of insightface (SCRFD, RetinaFace) from the user's ONNX file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from lh2face.detection.faces import SMALLEST, Detector, DetectorError, Face, Smallest
from lh2face.onnx.files import OnnxError, read_onnx
from lh2face.onnx.session import onnx_errors, open_session
from lh2face.text import first_line, printable

INPUT = (640, 640)
# Number of outputs: scores, boxes and landmarks at three or five strides.
LANDMARK_OUTPUTS = (9, 15)


@dataclass(frozen=True)
class Insightface:
    """A detector of insightface.

    Attributes:
        path: Its ONNX file, such as ``det_10g.onnx``.
        smallest: Side of the smallest face, 20 … 10000 px; smaller ones are dropped.
    """

    path: str
    type: Literal["insightface"] = "insightface"
    smallest: Smallest = SMALLEST

    def open(self) -> Detector:
        """Load the detector."""
        return open_insightface(Path(self.path), self.smallest)


def open_insightface(path: Path, smallest: float = SMALLEST) -> Detector:
    """Load a detector of insightface from a file; nothing is downloaded.

    Args:
        path: An ONNX file such as ``det_10g.onnx``.
        smallest: Side of the smallest face in px; smaller ones are dropped.

    Raises:
        ValueError: If the file is not a detection model with landmarks, or insightface is not
            installed.
    """
    try:
        from insightface.model_zoo.retinaface import RetinaFace
    except ImportError as error:
        raise ValueError(
            f'{path}: a detector of insightface needs pip install "lh2face[insightface]" ({error})'
        ) from None
    outputs = read_onnx(path).graph.output
    if len(outputs) not in LANDMARK_OUTPUTS:
        raise OnnxError(
            f"{path}: not a model of insightface that detects faces and landmarks: expected 9 or "
            f"15 outputs, found {len(outputs)}"
        )
    with onnx_errors(path):
        model = RetinaFace(str(path), open_session(path))
        model.prepare(ctx_id=-1, input_size=INPUT)
        model.detect(np.zeros((*INPUT, 3), np.uint8))

    def detect(image: np.ndarray) -> list[Face]:
        try:
            boxes, landmarks = model.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except Exception as error:  # onnxruntime's errors have no common base class
            raise DetectorError(printable(first_line(error))) from None
        faces = [
            Face(box[:4], np.array(points, np.float32), float(box[4]))
            for box, points in zip(boxes, landmarks, strict=True)
        ]
        return [face for face in faces if face.side >= smallest]

    return detect
