"""Whose faces the sections of ``params.yaml`` have: nobody is both trained and tested on."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

# What, beside its path, tells the people of one validation or benchmark of a type from another's.
TOLD_APART_BY = {
    "synthetic": "seed", "bin": "file", "pairs": "list", "image_folder": "held_out.fold"
}  # fmt: skip


def check_people(
    sources: Mapping[str, Any], benchmarks: Mapping[str, Any], validation: Mapping[str, Any]
) -> None:
    """Refuse sections by which people would be trained, validated and tested on.

    Args:
        sources: The sections of ``sources``, by name.
        benchmarks: Those of ``benchmarks``.
        validation: Those of ``validation``.

    Raises:
        ValueError: Naming the two sections that may have people in common.
    """
    if both := sorted(set(benchmarks) & set(validation)):
        raise ValueError(f"validation: found {both}, which are names in benchmarks too")
    tested, validated = _named(benchmarks, "benchmarks"), _named(validation, "validation")
    trained = _named(sources, "sources")
    for (name, source), (other, asked) in product(trained, [*tested, *validated]):
        # The source leaves out whomever the other has.
        if _same_folder(source, asked) and not (
            _division(source) == _division(asked) and _folds(source) >= _folds(asked) > set()
        ):
            raise ValueError(
                f"{name}, {other}: both have people of {source.path}; "
                "give both the same held_out, aligned, landmarks and detector, or some people "
                "would be trained and tested on"
            )
    for (name, one), (other, asked) in product(validated, tested):
        if _same_people(one, asked):
            raise ValueError(
                f"{name}, {other}: both may have the same people of {one.path}; give {name} "
                f"another path or {TOLD_APART_BY[one.type]}, or weights would be chosen on the "
                "people whom they are tested on"
            )


def _named(sections: Mapping[str, Any], key: str) -> list[tuple[str, Any]]:
    """Sections with their dotted keys."""
    return [(f"{key}.{name}", section) for name, section in sections.items()]


def _same_folder(one: Any, other: Any) -> bool:
    """Whether both have people of one folder of photos."""
    same = one.type == other.type == "image_folder"
    return same and Path(one.path).resolve() == Path(other.path).resolve()


def _division(config: Any) -> dict[str, Any]:
    """How a folder's people are divided: who is usable, and so their order, depends on it too."""
    found: dict[str, Any] = config.model_dump(
        include={"held_out", "aligned", "landmarks", "detector"}
    )
    (found["held_out"] or {}).pop("fold", None)
    return found


def _folds(config: Any) -> set[int]:
    """The folds that a folder's ``held_out`` names; none for all people."""
    fold = config.held_out.fold if config.held_out else []
    return {fold} if isinstance(fold, int) else set(fold)


def _same_people(one: Any, other: Any) -> bool:
    """Whether a validation and a benchmark may have people in common."""
    if _same_folder(one, other):
        # The folds of one division have nobody in common; without any, all people are meant.
        first, second = _folds(one), _folds(other)
        apart = first and second and first.isdisjoint(second)
        return not apart or _division(one) != _division(other)
    return one.type == other.type and _who(one) == _who(other)


def _who(config: Any) -> Path:
    """The people of a validation or a benchmark, as a path below that of its files."""
    value = getattr(config, TOLD_APART_BY[config.type], None)
    return Path(config.path, "" if value is None else str(value)).resolve()
