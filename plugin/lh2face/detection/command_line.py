"""The detector that a command line names."""

from pathlib import Path

from lh2face.detection.faces import Detector
from lh2face.detection.insightface import Insightface
from lh2face.detection.mtcnn import Mtcnn


def open_named(name: str) -> Detector:
    """Load the detector given on a command line: ``mtcnn``, or an ONNX file of insightface.

    Raises:
        ValueError: If it is neither, or a package that it needs is not installed.
    """
    if name == "mtcnn":
        return Mtcnn().open()
    if not Path(name).is_file():
        raise ValueError(f"--detector: expected mtcnn, or an ONNX file, found {name:.200}")
    return Insightface(name).open()
