"""Thresholds with the evidence for them: when a score allows a verdict, and how certain it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from lh2face.evaluation.evidence import HIGHEST_FAR, doubts
from lh2face.text import printable

# Exit status of a command that printed scores but no verdict.
NO_VERDICT = 3
NO_THRESHOLD = (
    "the model has no threshold; give --threshold, or export it with lh2face export-onnx "
    "--evaluation FOLDER"
)


@dataclass(frozen=True)
class Threshold:
    """A score above which two photos count as one person, or the reason why there is no verdict.

    Attributes:
        value: The score; ``None`` if there is none.
        origin: Its origin, in words.
        doubts: Reasons why a verdict is uncertain, one sentence each.
        refusal: Reason why no verdict is given; empty if verdicts are given.
    """

    value: float | None
    origin: str = ""
    doubts: Sequence[str] = ()
    refusal: str = ""

    def __str__(self) -> str:
        return "none" if self.value is None else f"{self.value:.4f}, {self.origin}"


def choose_threshold(
    known: dict[str, Any] | None, threshold: float | None, far: float | None
) -> Threshold:
    """Choose the given threshold, that of a given FAR, or that of the lowest measured FAR.

    If the lowest measured FAR is above ``HIGHEST_FAR``, no verdict is given. A given FAR or
    threshold always allows a verdict, with doubts.

    Args:
        known: Thresholds of the model, if it has any.
        threshold: A cosine in [−1, 1].
        far: One of the FARs for which the model has a threshold.

    Returns:
        The threshold.

    Raises:
        ValueError: If both are given, the threshold is not a cosine, or the model has no threshold
            for the FAR.
    """
    measured = {float(key): value for key, value in (known or {}).get("threshold", {}).items()}
    if threshold is not None:
        if far is not None:
            raise ValueError("--far: found --threshold too; give one of them")
        return _given_threshold(check_cosine(threshold), known, measured)
    if far is not None and far not in measured:
        has = ", ".join(f"{key:g}" for key in measured) or "none"
        raise ValueError(f"--far: found {far:g}, the model has thresholds for {has}")
    rate = min(measured, default=None) if far is None else far
    if known is None or rate is None:
        return Threshold(None, refusal=NO_THRESHOLD)
    refusal = ""
    if far is None and rate > HIGHEST_FAR:
        refusal = (
            f"the lowest FAR with a threshold is {rate:g}, above {HIGHEST_FAR:g}: one stranger in "
            f"{1 / rate:.0f} passes; give --far {rate:g} to decide nevertheless, or evaluate on "
            "more impostor pairs for a lower FAR"
        )
    origin = f"FAR {rate:g}, {_measured_on(known)}"
    return Threshold(measured[rate], origin, _doubts(rate, known), refusal)


def check_cosine(threshold: float) -> float:
    """Check that a threshold from the user is in [−1, 1], and return it.

    Raises:
        ValueError: If it is not.
    """
    if not -1 <= threshold <= 1:
        raise ValueError(f"--threshold: expected a cosine, −1 … 1, found {threshold:g}")
    return threshold


def warn(console: Console, doubts: Sequence[str]) -> None:
    """Print the doubts as warnings, one per line."""
    for doubt in doubts:
        console.print(Text.assemble(("warning:", "yellow"), " ", printable(doubt)))


def _given_threshold(
    value: float, known: dict[str, Any] | None, measured: dict[float, float]
) -> Threshold:
    """Return a given threshold; the highest measured threshold below it bounds its FAR."""
    if known is None or not measured:
        return Threshold(value, "as given", ["the FAR of this threshold is not known"])
    reached = [far for far, limit in measured.items() if value >= limit]
    if not reached:
        above = max(measured)
        more = f"the FAR of this threshold is above {above:g}: more than one stranger in "
        origin = f"as given, FAR above {above:g}, {_measured_on(known)}"
        return Threshold(value, origin, [f"{more}{1 / above:.0f} passes"])
    far = min(reached)
    origin = f"as given, FAR at most {far:g}, {_measured_on(known)}"
    return Threshold(value, origin, _doubts(far, known))


def _measured_on(known: dict[str, Any]) -> str:
    people = "an unknown number of" if known.get("people") is None else f"{known['people']:,}"
    where = f"benchmark {known['benchmark']} ({', '.join(known['bins'])})"
    return (
        f"measured on {known['impostor']:,} impostor pairs of {people} people, {where}, "
        f"source of the faces: {known['source']}"
    )


def _doubts(far: float, known: dict[str, Any]) -> list[str]:
    found = doubts("FAR", far, known["impostor"], known.get("people"))
    if known["source"] == "synthetic":
        found.append("the threshold was measured on synthetic faces and may not hold for photos")
    return found
