"""A detector as a parameter of sources and benchmarks; the key ``type`` selects one."""

import functools
import operator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lh2face.detection import DETECTORS, DetectorType

if TYPE_CHECKING:
    AnyDetector = DetectorType
else:
    _union = functools.reduce(operator.or_, DETECTORS.values())
    AnyDetector = Annotated[_union, Field(discriminator="type")]


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
