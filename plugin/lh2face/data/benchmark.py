"""A benchmark on disk: a list of aligned faces, and what is asked about them.

A folder holds ``faces.rec`` (key i + 1 is row i), ``images.csv`` (``name`` of each row, and where
known ``identity``, ``kind`` and how it was photographed), ``pairs/NAME.csv`` (names of ``first``
and ``second``, ``same`` 0 or 1, and ``fold`` where a list has folds), ``truth.npz`` (true depth),
and ``benchmark.json``: ``origin`` of the faces and, where there are templates, the folder and the
prefix of their lists.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lh2face.artifacts.json_object import read_object
from lh2face.data.csv_files import PAIR_LIST, TableError, read_rows, write_rows
from lh2face.data.ijb_meta import IJBMeta, read_meta
from lh2face.data.recordio import RecordReader

DESCRIPTION, FACES, TABLE, PAIRS, TRUTH = (
    "benchmark.json", "faces.rec", "images.csv", "pairs", "truth.npz",
)  # fmt: skip
# How faces were photographed, where it is known: yaw in degrees, quality in [0, 1].
CONDITIONS = ("yaw", "quality")


class BenchmarkError(ValueError):
    """A benchmark that cannot be used; the message names the file."""


@dataclass(frozen=True)
class PairList:
    """Pairs of a benchmark's faces.

    Attributes:
        first: ``(n,)`` int64 rows of faces.
        second: ``(n,)`` int64.
        same: ``(n,)`` bool, whether a pair shows one person.
        fold: ``(n,)`` int64; ``None`` where the list has no folds.
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of :func:`write_benchmark`; each part is read when it is asked for.

    Attributes:
        folder: Where it is.
        origin: What the faces are: "synthetic", or "photos".
        lists: Folder and prefix of the lists of templates; ``None`` where there are none.
    """

    folder: Path
    origin: str
    lists: tuple[Path, str] | None

    @cached_property
    def faces(self) -> RecordReader:
        """The encoded faces, by key: that of row i is i + 1."""
        return RecordReader(self.folder / FACES)

    @cached_property
    def images(self) -> dict[str, np.ndarray]:
        """Columns of the list of faces ``(N,)``: ``name``; ``identity``, ``kind`` and those of
        ``CONDITIONS`` where they are known.

        Raises:
            BenchmarkError: If a name stands there twice, or there is none.
            TableError: If the file is no such list.
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
        """Names of the N faces, in their order."""
        return list(map(str, self.images["name"]))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Position of each face by its name."""
        return {name: row for row, name in enumerate(self.names)}

    @cached_property
    def pairs(self) -> dict[str, PairList]:
        """Lists of pairs by name; empty where there are none.

        Raises:
            BenchmarkError: If a list names an image that is none of the faces.
            TableError: If a file is no such list.
        """
        paths = sorted((self.folder / PAIRS).glob("*.csv"))
        return {path.stem: read_pairs(path, self.rows) for path in paths}

    @cached_property
    def templates(self) -> IJBMeta | None:
        """Lists of templates, media, pairs of templates and galleries, over the same faces.

        Raises:
            BenchmarkError: If they list other faces.
            MetaError: If a list cannot be used.
        """
        if self.lists is None:
            return None
        meta = read_meta(*self.lists)
        if meta.names != self.names:
            raise BenchmarkError(
                f"{self.folder / TABLE}: other images than the lists {self.lists[1]}_* in "
                f"{self.lists[0] / 'meta'}"
            )
        return meta

    @property
    def people(self) -> int | None:
        """How many people the faces show; ``None`` where no list says it."""
        if self.knows("identity"):
            return len(np.unique(self.images["identity"]))
        return None if self.templates is None else self.templates.people

    @property
    def truth(self) -> Path | None:
        """The file of true depth of some faces; ``None`` where there is none."""
        path = self.folder / TRUTH
        return path if path.exists() else None


def read_benchmark(folder: Path) -> Benchmark:
    """Open a benchmark.

    Raises:
        ValueError: If ``benchmark.json`` is absent or not what :func:`write_benchmark` writes.
    """
    path = folder / DESCRIPTION
    found = read_object(path, "a benchmark's folder")
    origin, lists = found.get("origin"), found.get("lists")
    whole = isinstance(origin, str) and (
        lists is None or (isinstance(lists, list) and len(lists) == 2 and all(map(_is_text, lists)))
    )
    if not whole:
        raise BenchmarkError(f"{path}: expected origin and lists, found {found!r:.200}")
    return Benchmark(folder, origin, None if lists is None else (folder / lists[0], lists[1]))


def write_benchmark(
    folder: Path, origin: str, images: Mapping[str, Iterable[Any]],
    pairs: Mapping[str, Iterable[tuple]], lists: tuple[str, str] | None,
) -> None:  # fmt: skip
    """Write all of a benchmark but its faces.

    Args:
        folder: An existing folder.
        origin: What the faces are.
        images: Columns of the list of faces; ``name`` is one of them.
        pairs: Rows of ``first``, ``second``, ``same`` and perhaps ``fold``, by the list's name.
        lists: Folder, absolute or seen from ``folder``, and prefix of the lists of templates.
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
    """A list of pairs by the rows of their faces; raises as :attr:`Benchmark.pairs`."""
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
    return PairList(*sides, same, fold)


def check_kinds(same: np.ndarray, path: Path) -> None:
    """Raise :class:`BenchmarkError` if the pairs of a file are all of one person, or of two."""
    if same.all() or not same.any():
        kind = "of two people" if same.all() else "of one person"
        raise BenchmarkError(f"{path}: there is no pair {kind} among {len(same)}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
