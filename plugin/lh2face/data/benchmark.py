"""A benchmark on disk: aligned faces, and lists of pairs or templates to compare.

A folder holds:

- ``benchmark.json``: the ``origin`` of the faces; with templates, also the folder and the prefix of
  their lists;
- ``faces.rec``: the encoded faces; key i + 1 is row i;
- ``images.csv``: the ``name`` of each row and, if known, its ``identity``, ``kind``, and the
  conditions of the photo;
- ``pairs/NAME.csv``: the names ``first`` and ``second``, ``same`` (0 or 1) and, if the list has
  folds, ``fold``;
- ``truth.npz``, if known: the true depth of some faces.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lh2face.data.ijb_meta import IJBMeta, read_meta
from lh2face.data.recordio import RecordReader
from lh2face.files.json_object import read_object
from lh2face.files.tables import PAIR_LIST, TableError, read_rows, write_rows

DESCRIPTION, FACES, TABLE, PAIRS, TRUTH = (
    "benchmark.json", "faces.rec", "images.csv", "pairs", "truth.npz",
)  # fmt: skip
# Conditions of a photo, if known: yaw in degrees, quality in [0, 1].
CONDITIONS = ("yaw", "quality")


class BenchmarkError(ValueError):
    """A benchmark cannot be used; the message names the file."""


@dataclass(frozen=True)
class PairList:
    """n pairs of a benchmark's faces.

    Attributes:
        first: ``(n,)`` int64 row of each pair's first face.
        second: ``(n,)`` int64 row of its second face.
        same: ``(n,)`` bool: whether both show the same person.
        fold: ``(n,)`` int64 fold of each pair; ``None`` if the list has no folds.
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark written by :func:`write_benchmark`; each part is read at its first use.

    Attributes:
        folder: Its folder.
        origin: How the faces were made: "synthetic" or "photos".
        lists: Folder and prefix of the template lists; ``None`` if there are none.
    """

    folder: Path
    origin: str
    lists: tuple[Path, str] | None

    @cached_property
    def faces(self) -> RecordReader:
        """Reader of the N encoded faces; row i has the key i + 1."""
        return RecordReader(self.folder / FACES)

    @cached_property
    def images(self) -> dict[str, np.ndarray]:
        """Columns ``(N,)`` of ``images.csv``: ``name`` and, if known, ``identity``, ``kind`` and
        ``CONDITIONS``.

        Raises:
            BenchmarkError: If the list is empty, or a name occurs twice.
            TableError: If the file cannot be read as such a table.
        """
        path = self.folder / TABLE
        known = {"identity": int, "kind": str, **dict.fromkeys(CONDITIONS, float)}
        rows = read_rows(path, {"name": str}, known)
        if not rows:
            raise BenchmarkError(f"{path}: names no image")
        seen: set[str] = set()
        for row in rows:
            if row["name"] in seen:
                raise BenchmarkError(f"{path}: names {row['name']:.100} twice")
            seen.add(row["name"])
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def knows(self, *columns: str) -> bool:
        """Whether the list of faces has these columns."""
        return all(column in self.images for column in columns)

    @cached_property
    def names(self) -> list[str]:
        """Names of the N faces, in the order of the rows."""
        return list(map(str, self.images["name"]))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each face by its name."""
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def pairs(self) -> dict[str, PairList]:
        """Lists of pairs by name; empty if there are none.

        Raises:
            BenchmarkError: If a list names an unknown face, or has only genuine or only impostor
                pairs.
            TableError: If a file cannot be read as such a table, or has no pair.
        """
        paths = sorted((self.folder / PAIRS).glob("*.csv"))
        return {path.stem: read_pairs(path, self.rows) for path in paths}

    @cached_property
    def templates(self) -> IJBMeta | None:
        """Templates, media, pairs of templates and galleries; ``None`` if there are none.

        Raises:
            BenchmarkError: If they list other faces, or the same faces in another order.
            MetaError: If a list cannot be used.
        """
        if self.lists is None:
            return None
        meta = read_meta(*self.lists)
        if meta.names != self.names:
            raise BenchmarkError(
                f"{self.folder / TABLE}: its images differ from those of the lists "
                f"{self.lists[1]}_* in {self.lists[0] / 'meta'}"
            )
        return meta

    @property
    def people(self) -> int | None:
        """Number of people that the faces show; ``None`` if no list says it."""
        if self.knows("identity"):
            return len(np.unique(self.images["identity"]))
        return None if self.templates is None else self.templates.people

    @property
    def truth(self) -> Path | None:
        """File with the true depth of some faces; ``None`` if there is none."""
        path = self.folder / TRUTH
        return path if path.exists() else None


def read_benchmark(folder: Path) -> Benchmark:
    """Open a benchmark.

    Raises:
        ValueError: If ``benchmark.json`` is missing or not in the form that
            :func:`write_benchmark` writes.
    """
    path = folder / DESCRIPTION
    found = read_object(path, "a benchmark's folder")
    origin, lists = found.get("origin"), found.get("lists")
    if not isinstance(origin, str) or not (
        lists is None or (isinstance(lists, list) and len(lists) == 2 and all(map(_is_text, lists)))
    ):
        raise BenchmarkError(f"{path}: expected origin and lists, found {found!r:.200}")
    return Benchmark(folder, origin, None if lists is None else (folder / lists[0], lists[1]))


def write_benchmark(
    folder: Path, origin: str, images: Mapping[str, Iterable[Any]],
    pairs: Mapping[str, Iterable[tuple[Any, ...]]], lists: tuple[str, str] | None,
) -> None:  # fmt: skip
    """Write all files of a benchmark except the faces.

    Args:
        folder: An existing folder.
        origin: How the faces were made: "synthetic" or "photos".
        images: Columns of the list of faces; ``name`` is one of them.
        pairs: Rows of ``first``, ``second``, ``same`` and optionally ``fold``, by list name.
        lists: Folder (absolute or relative to ``folder``) and prefix of the template lists;
            ``None`` if there are none.
    """
    description = {"origin": origin, "lists": lists and list(lists)}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    write_rows(folder / TABLE, images, zip(*images.values(), strict=True))
    (folder / PAIRS).mkdir()
    for name, rows in pairs.items():
        listed = list(rows)
        header = [*PAIR_LIST, "fold"][: len(listed[0]) if listed else len(PAIR_LIST)]
        write_rows(folder / PAIRS / f"{name}.csv", header, listed)


def read_pairs(path: Path, rows: Mapping[str, int]) -> PairList:
    """Read a list of pairs.

    Args:
        path: The file.
        rows: Row of each face by its name.

    Raises:
        BenchmarkError, TableError: As described at :attr:`Benchmark.pairs`.
    """
    listed = read_rows(path, PAIR_LIST, {"fold": int})
    if not listed:
        raise TableError(f"{path}: names no pair")
    sides = []
    for side in ("first", "second"):
        absent = next((pair[side] for pair in listed if pair[side] not in rows), None)
        if absent is not None:
            raise BenchmarkError(f"{path}: there is no image {absent:.200}")
        sides.append(np.array([rows[pair[side]] for pair in listed]))
    same = np.array([pair["same"] for pair in listed])
    check_kinds(same, path)
    fold = np.array([pair["fold"] for pair in listed]) if "fold" in listed[0] else None
    first, second = sides
    return PairList(first, second, same, fold)


def check_kinds(same: np.ndarray, path: Path) -> None:
    """Raise :class:`BenchmarkError` if a file has only genuine or only impostor pairs."""
    if same.all() or not same.any():
        kind = "of two people" if same.all() else "of one person"
        raise BenchmarkError(f"{path}: there is no pair {kind} among {len(same)}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
