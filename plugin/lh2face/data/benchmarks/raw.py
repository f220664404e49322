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
# Rows of ``first``, ``second``, ``same`` and optionally ``fold``.
PairRows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class RawBenchmark:
    """The N faces of a benchmark before alignment, and its lists of pairs or templates.

    Attributes:
        origin: How the faces were made: "synthetic" or "photos".
        images: Columns ``(N,)`` of the list of faces; ``name`` is one of them.
        sources: Where each face is, for messages.
        read: Function from a row (0 … N − 1) to the encoded image.
        landmarks: ``(N, 5, 2)`` x, y in px; ``None`` if the faces are already aligned.
        pairs: Rows of ``first``, ``second``, ``same`` and optionally ``fold``, by list name.
        lists: Folder and prefix of the template lists; ``None`` if there are none.
        truth: File with the true depth of some faces; ``None`` if there is none.
        copied: Whether the template lists are copied beside the aligned faces.
    """

    origin: str
    images: Mapping[str, Sequence[Any]]
    sources: Sequence[str]
    read: Callable[[int], bytes]
    landmarks: np.ndarray | None
    pairs: Mapping[str, PairRows] = field(default_factory=dict)
    lists: tuple[Path, str] | None = None
    truth: Path | None = None
    copied: bool = False


class BenchmarkSource(Protocol):
    """Interface of a benchmark type; its fields are its parameters."""

    @property
    def path(self) -> str:
        """The file or folder that DVC watches for changes."""

    def write(self, raw: Path, workers: int) -> None:
        """Fill an empty folder with the files that have to be prepared."""

    def open(self, raw: Path) -> RawBenchmark:
        """Open the benchmark, whose prepared files are in ``raw``."""


class OnDisk:
    """Base class of benchmarks whose files are read in place."""

    def write(self, raw: Path, workers: int) -> None:
        """Write nothing, because no file has to be prepared."""


def open_folder(raw: Path, origin: str) -> RawBenchmark:
    """Open a benchmark written in the layout of IJB, with ``images.csv`` and ``pairs/``."""
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


def read_pair_rows(path: Path) -> PairRows:
    """Read ``first``, ``second``, ``same`` (0 or 1) and, if it exists, ``fold`` of each pair.

    Raises:
        TableError: If the file cannot be read as such a table, or has no pair.
        BenchmarkError: If there are only genuine or only impostor pairs.
    """
    rows = read_rows(path, PAIR_LIST, {"fold": int})
    if not rows:
        raise TableError(f"{path}: names no pair")
    check_kinds(np.array([row["same"] for row in rows]), path)
    return [
        (row["first"], row["second"], int(row["same"]), *([row["fold"]] if "fold" in row else []))
        for row in rows
    ]
