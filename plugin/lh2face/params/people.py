"""Check that no person is in the training faces and in a validation or benchmark."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

# The key that, besides the path, selects the people of a validation or benchmark, by its type.
PEOPLE_KEYS = {
    "synthetic": "seed", "bin": "file", "pairs": "list", "image_folder": "held_out.fold"
}  # fmt: skip


def check_people(
    sources: Mapping[str, Any], benchmarks: Mapping[str, Any], validation: Mapping[str, Any]
) -> None:
    """Check that sources, validations and benchmarks have no people in common.

    Args:
        sources: The sections of ``sources``, by name.
        benchmarks: The sections of ``benchmarks``, by name.
        validation: The sections of ``validation``, by name.

    Raises:
        ValueError: If two of them may have people in common; the message names both.
    """
    if both := sorted(set(benchmarks) & set(validation)):
        raise ValueError(f"validation: found {both}, which are also names in benchmarks")
    tested, validated = _named(benchmarks, "benchmarks"), _named(validation, "validation")
    trained = _named(sources, "sources")
    for (name, source), (other, test) in product(trained, [*tested, *validated]):
        # Allowed if the source leaves out all people of the other section.
        if _same_folder(source, test) and not (
            _division(source) == _division(test) and _folds(source) >= _folds(test) > set()
        ):
            raise ValueError(
                f"{name}, {other}: both use people of {source.path}; "
                "give both the same held_out, aligned, landmarks and detector, or some people "
                "would be both trained and tested on"
            )
    for (name, one), (other, test) in product(validated, tested):
        if _same_people(one, test):
            raise ValueError(
                f"{name}, {other}: both may use the same people of {one.path}; give {name} "
                f"another path or {PEOPLE_KEYS[one.type]}, or weights would be selected on "
                "people of the test"
            )


def _named(sections: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Return the sections with their dotted keys."""
    return [(f"{key}.{name}", section) for name, section in sections.items()]


def _same_folder(one: Any, other: Any) -> bool:
    """Whether both read the same folder of photos."""
    same = one.type == other.type == "image_folder"
    return same and Path(one.path).resolve() == Path(other.path).resolve()


def _division(config: Any) -> dict[str, Any]:
    """Return the keys that decide how the people of a folder are divided into folds.

    ``aligned``, ``landmarks`` and ``detector`` decide which people are usable, and so their order.
    """
    found: dict[str, Any] = config.model_dump(
        include={"held_out", "aligned", "landmarks", "detector"}
    )
    (found["held_out"] or {}).pop("fold", None)
    return found


def _folds(config: Any) -> set[int]:
    """Return the folds that ``held_out`` names; empty for all people."""
    fold = config.held_out.fold if config.held_out else []
    return {fold} if isinstance(fold, int) else set(fold)


def _same_people(one: Any, other: Any) -> bool:
    """Whether a validation and a benchmark may have people in common."""
    if _same_folder(one, other):
        # Different folds of one division share no people; without a fold, all people are used.
        first, second = _folds(one), _folds(other)
        apart = first and second and first.isdisjoint(second)
        return not apart or _division(one) != _division(other)
    return one.type == other.type and _people_path(one) == _people_path(other)


def _people_path(config: Any) -> Path:
    """Return a path that identifies the people of a validation or a benchmark."""
    value = getattr(config, PEOPLE_KEYS[config.type], None)
    return Path(config.path, "" if value is None else str(value)).resolve()
