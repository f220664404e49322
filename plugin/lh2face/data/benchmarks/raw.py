"""The faces of a benchmark before alignment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lh2face.data.benchmark import CONDITIONS, PAIRS, TABLE, TRUTH, check_kinds
from lh2face.data.ijb_meta import read_meta
from lh2face.data.images import read_file
from lh2face.files.tables import PAIR_LIST, TableError, read_rows

LISTS = "bench"


@dataclass(frozen=True)
class RawBenchmark:
    """N faces as they were photographed, and what is asked about them.

    Attributes:
        origin: What the faces are: "synthetic", or "photos".
        images: Columns of the list of faces ``(N,)``; ``name`` is one of them.
        sources: Where each face is, for messages.
        read: From a row to its encoded image.
        landmarks: ``(N, 5, 2)`` px; ``None`` where the faces are aligned already.
        pairs: Rows of ``first``, ``second``, ``same`` and perhaps ``fold``, by the list's name.
        lists: Folder and prefix of the lists of templates, if there are any.
        truth: File of the true depth of some faces, if there is one.
        copied: Whether the lists of templates are copied to the aligned faces.
    """

    origin: str
    images: Mapping[str, Sequence[Any]]
    sources: Sequence[str]
    read: Callable[[int], bytes]
    landmarks: np.ndarray | None
    pairs: Mapping[str, list[tuple]] = field(default_factory=dict)
    lists: tuple[Path, str] | None = None
    truth: Path | None = None
    copied: bool = False


class BenchmarkSource(Protocol):
    """What a type of benchmark is."""

    path: str

    def write(self, raw: Path, workers: int) -> None:
        """Fill an empty folder with what has to be made first."""

    def open(self, raw: Path) -> RawBenchmark:
        """The faces, of which those that were made first lie in ``raw``."""


class OnDisk:
    """A benchmark whose files are the user's, read where they lie."""

    def write(self, raw: Path, workers: int) -> None:
        """Nothing has to be made."""


def open_folder(raw: Path, origin: str) -> RawBenchmark:
    """A benchmark that was written in the layout of IJB, with ``images.csv`` and ``pairs/``."""
    meta = read_meta(raw, LISTS)
    paths = [raw / "loose_crop" / name for name in meta.names]
    columns = {"name": str, "identity": int, "kind": str}
    rows = read_rows(raw / TABLE, columns, dict.fromkeys(CONDITIONS, float))
    lists = sorted((raw / PAIRS).glob("*.csv"))
    return RawBenchmark(
        origin=origin,
        images={name: [row[name] for row in rows] for name in rows[0]},
        sources=list(map(str, paths)),
        read=lambda row: read_file(paths[row]),
        landmarks=meta.landmarks,
        pairs={path.stem: read_pair_rows(path) for path in lists},
        lists=(raw, LISTS),
        copied=True,
        truth=raw / TRUTH if (raw / TRUTH).exists() else None,
    )


def read_pair_rows(path: Path) -> list[tuple]:
    """``first``, ``second``, ``same`` as 0 or 1, and ``fold`` where there is one, of each pair.

    Raises:
        TableError: If the file is no such list, or names no pair.
        BenchmarkError: If there is no pair of one person, or none of two.
    """
    rows = read_rows(path, PAIR_LIST, {"fold": int})
    if not rows:
        raise TableError(f"{path}: names no pair")
    check_kinds(np.array([row["same"] for row in rows]), path)
    return [
        (row["first"], row["second"], int(row["same"]), *([row["fold"]] if "fold" in row else []))
        for row in rows
    ]
