"""Meta files of IJB-B and IJB-C, as insightface lays them out (``meta/<protocol>_*.txt``)."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

GALLERIES = ("S1", "S2", "G1", "G2")


class MetaError(ValueError):
    """A meta file that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Templates:
    """Templates of a 1:N list.

    Attributes:
        template_ids: ``(n,)`` int64.
        subject_ids: ``(n,)`` int64.
    """

    template_ids: np.ndarray
    subject_ids: np.ndarray


@dataclass(frozen=True)
class IJBMeta:
    """All of a protocol's meta files; arrays of one image each are in the order of the files.

    Attributes:
        names: N file names in ``loose_crop``.
        landmarks: ``(N, 5, 2)`` float32, px.
        detector_score: ``(N,)`` float32.
        template_ids: ``(N,)`` int64.
        media_ids: ``(N,)`` int64.
        first: ``(P,)`` int64 template ids of the 1:1 pairs.
        second: ``(P,)`` int64.
        genuine: ``(P,)`` bool.
        galleries: By name, such as G1.
        probes: The mixed probes.
    """

    names: list[str]
    landmarks: np.ndarray
    detector_score: np.ndarray
    template_ids: np.ndarray
    media_ids: np.ndarray
    first: np.ndarray
    second: np.ndarray
    genuine: np.ndarray
    galleries: dict[str, Templates]
    probes: Templates


def read_meta(root: str | Path, protocol: str) -> IJBMeta:
    """Read ``root/meta/<protocol>_*``.

    Args:
        root: Folder with ``meta`` and ``loose_crop``.
        protocol: Prefix of the files, such as ``ijbb`` or ``ijbc``.

    Raises:
        MetaError: If a field is not a number, lists differ in length or order, or a pair names a
            template without images; with file and line.
        FileNotFoundError: If a file is missing.
    """
    folder = Path(root) / "meta"
    path = folder / f"{protocol}_name_5pts_score.txt"
    faces = _read(path, 12)
    names = faces[0].tolist()
    numbers = _numbers(path, faces.iloc[:, 1:], np.float32)

    path = folder / f"{protocol}_face_tid_mid.txt"
    images = _read(path, 3)
    if images[0].tolist() != names:
        at = next(
            (i for i, pair in enumerate(zip(images[0], names, strict=False)) if pair[0] != pair[1]),
            min(len(images), len(names)),
        )
        raise MetaError(f"{path}:{at + 1}: images differ from those of {protocol}_name_5pts_score")
    template_ids, media_ids = _numbers(path, images.iloc[:, 1:], np.int64).T

    path = folder / f"{protocol}_template_pair_label.txt"
    first, second, label = _numbers(path, _read(path, 3), np.int64).T
    known = np.unique(template_ids)
    for ids in (first, second):
        absent = np.flatnonzero(~np.isin(ids, known))
        if absent.size:
            raise MetaError(f"{path}:{absent[0] + 1}: template {ids[absent[0]]} has no image")
    wrong = np.flatnonzero((label != 0) & (label != 1))
    if wrong.size:
        raise MetaError(
            f"{path}:{wrong[0] + 1}: expected the label 0 or 1, found {label[wrong[0]]}"
        )

    galleries = {
        name: _read_templates(path)
        for name in GALLERIES
        if (path := folder / f"{protocol}_1N_gallery_{name}.csv").exists()
    }
    probes = _read_templates(folder / f"{protocol}_1N_probe_mixed.csv")
    return IJBMeta(
        names=names,
        landmarks=numbers[:, :10].reshape(-1, 5, 2),
        detector_score=numbers[:, 10],
        template_ids=template_ids,
        media_ids=media_ids,
        first=first,
        second=second,
        genuine=label == 1,
        galleries=galleries,
        probes=probes,
    )


def write_meta(root: str | Path, protocol: str, meta: IJBMeta) -> None:
    """Write ``root/meta/<protocol>_*``, the files that :func:`read_meta` reads."""
    folder = Path(root) / "meta"
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / f"{protocol}_face_tid_mid.txt",
        zip(meta.names, meta.template_ids, meta.media_ids, strict=True),
    )
    points = meta.landmarks.reshape(len(meta.names), 10)
    _write(
        folder / f"{protocol}_name_5pts_score.txt",
        (
            (name, *(f"{value:.4f}" for value in row), f"{score:.6f}")
            for name, row, score in zip(meta.names, points, meta.detector_score, strict=True)
        ),
    )
    _write(
        folder / f"{protocol}_template_pair_label.txt",
        zip(meta.first, meta.second, meta.genuine.astype(int), strict=True),
    )
    lists = {f"gallery_{name}": gallery for name, gallery in meta.galleries.items()}
    for name, templates in {**lists, "probe_mixed": meta.probes}.items():
        rows = zip(templates.template_ids, templates.subject_ids, strict=True)
        header = ("TEMPLATE_ID", "SUBJECT_ID")
        _write(folder / f"{protocol}_1N_{name}.csv", [header, *rows], separator=",")


def _write(path: Path, rows: Any, separator: str = " ") -> None:
    text = "".join(separator.join(map(str, row)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def _read(path: Path, columns: int) -> "pd.DataFrame":
    import pandas as pd

    try:
        frame = pd.read_csv(path, sep=" ", header=None, dtype={0: str} if columns != 3 else None)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise MetaError(f"{path}: {error}") from None
    if frame.shape[1] != columns:
        raise MetaError(f"{path}:1: expected {columns} columns, found {frame.shape[1]}")
    return frame


def _numbers(path: Path, frame: "pd.DataFrame", dtype: type) -> np.ndarray:
    import pandas as pd

    values = frame.apply(pd.to_numeric, errors="coerce")
    bad = np.flatnonzero(values.isna().any(axis=1))
    if bad.size:
        line = frame.iloc[bad[0]].tolist()
        raise MetaError(f"{path}:{bad[0] + 1}: expected numbers, found {line}")
    return values.to_numpy(dtype)


def _read_templates(path: Path) -> Templates:
    import pandas as pd

    frame = pd.read_csv(path).iloc[:, :2]
    values = _numbers(path, frame, np.int64).T
    # A template has one row an image; the list wants each once, in the order of first mention.
    _, index = np.unique(values[0], return_index=True)
    return Templates(*values[:, np.sort(index)])
