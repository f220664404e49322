"""Face detection: box, five landmarks and score of each face in a photo.

A detector is a thread-safe function from a photo to its faces. ``DETECTORS`` has the types that
the key ``detector`` of ``params.yaml`` selects, by name. A type is a frozen dataclass whose fields
are the parameters; its ``type`` is the name, and ``open`` loads the detector. To add one, write a
file in this folder, and a line below.
"""

from lh2face.detection.command_line import open_named
from lh2face.detection.faces import SMALLEST, Detector, DetectorType, Face, main_face
from lh2face.detection.insightface import Insightface, open_insightface
from lh2face.detection.mtcnn import Mtcnn, open_mtcnn

DETECTORS: dict[str, type[DetectorType]] = {
    "mtcnn": Mtcnn,
    "insightface": Insightface,
}

__all__ = [
    "DETECTORS", "SMALLEST", "Detector", "DetectorType", "Face", "Insightface", "Mtcnn",
    "main_face", "open_insightface", "open_mtcnn", "open_named",
]  # fmt: skip
