"""Meta files of IJB-B and IJB-C, as insightface lays them out (``meta/<protocol>_*.txt``)."""

import codecs
import csv
import io
import os
import re
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lh2face.text import first_line

# Limit for the size of a list; ten times the longest list of IJB-C.
MOST_BYTES = 1 << 31
GALLERIES = ("S1", "S2", "G1", "G2")


class MetaError(ValueError):
    """A meta file cannot be used; the message names the file and, if known, the line."""


@dataclass(frozen=True)
class Templates:
    """The n templates of a 1:N list, in order of their first mention.

    Attributes:
        template_ids: ``(n,)`` int64, each once.
        subject_ids: ``(n,)`` int64 subject of each template.
    """

    template_ids: np.ndarray
    subject_ids: np.ndarray


@dataclass(frozen=True)
class IJBMeta:
    """The content of all meta files of a protocol, with N images and P pairs of templates.

    Attributes:
        names: N file names in ``loose_crop``, in the order of the lists.
        landmarks: ``(N, 5, 2)`` float32 x, y in px.
        detector_score: ``(N,)`` float32.
        template_ids: ``(N,)`` int64 template of each image.
        media_ids: ``(N,)`` int64 medium of each image: a still image or a video.
        first: ``(P,)`` int64 template id of each 1:1 pair.
        second: ``(P,)`` int64 template id to compare it with.
        genuine: ``(P,)`` bool: whether both are of the same subject.
        galleries: Gallery templates by the gallery's name, such as G1.
        probes: The mixed probe templates.
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

    @property
    def people(self) -> int:
        """Number of people that the 1:N lists name."""
        lists = (self.probes, *self.galleries.values())
        return len(np.unique(np.concatenate([one.subject_ids for one in lists])))


def read_meta(root: str | Path, protocol: str) -> IJBMeta:
    """Read ``root/meta/<protocol>_*``.

    Fields are separated by spaces or tabs, in the 1:N lists by commas. A byte order mark, Windows
    line endings and blank lines at the end are accepted.

    Args:
        root: Folder with ``meta`` and ``loose_crop``.
        protocol: Prefix of the files, such as ``ijbb`` or ``ijbc``.

    Raises:
        MetaError: If a field is not a number, lists differ in length or order, a list names a
            template without images, a template has two subjects, there are no genuine or no
            impostor pairs, or there is no gallery.
        FileNotFoundError: If a file is missing.
    """
    folder = Path(root) / "meta"
    if not (path := faces_path(root, protocol)).exists():
        raise FileNotFoundError(
            f"{path}: no such file; expected a folder with meta/{path.name} and the other lists"
        )
    names, *numbers = _read(path, [str] + [np.float32] * 11)
    path = folder / f"{protocol}_face_tid_mid.txt"
    images, template_ids, media_ids = _read(path, [str, np.int64, np.int64])
    shorter = min(len(images), len(names))
    differ = np.append(images[:shorter] != names[:shorter], len(images) != len(names))
    if differ.any():
        raise MetaError(
            f"{path}:{differ.argmax() + 1}: images differ from those of {protocol}_name_5pts_score"
        )

    known = np.unique(template_ids)
    path = folder / f"{protocol}_template_pair_label.txt"
    first, second, label = _read(path, [np.int64] * 3)
    for ids in (first, second):
        _check_known(path, ids, known, first_line=1)
    wrong = np.flatnonzero((label != 0) & (label != 1))
    if wrong.size:
        raise MetaError(
            f"{path}:{wrong[0] + 1}: expected the label 0 or 1, found {label[wrong[0]]}"
        )
    genuine = label == 1
    if genuine.all() or not genuine.any():
        kind = "impostor pair (label 0)" if genuine.all() else "genuine pair (label 1)"
        raise MetaError(f"{path}: there is no {kind} among {len(genuine)}")

    subjects: dict[int, int] = {}
    galleries = {
        name: _read_templates(path, known, subjects)
        for name in GALLERIES
        if (path := folder / f"{protocol}_1N_gallery_{name}.csv").exists()
    }
    if not galleries:
        raise MetaError(
            f"{folder}: there is no {protocol}_1N_gallery_{{{','.join(GALLERIES)}}}.csv"
        )
    probes = _read_templates(folder / f"{protocol}_1N_probe_mixed.csv", known, subjects)
    return IJBMeta(
        names=names.tolist(),
        landmarks=np.stack(numbers[:10], axis=1).reshape(-1, 5, 2),
        detector_score=numbers[10],
        template_ids=template_ids,
        media_ids=media_ids,
        first=first,
        second=second,
        genuine=genuine,
        galleries=galleries,
        probes=probes,
    )


def faces_path(root: str | Path, protocol: str) -> Path:
    """Return the path of the list of images; its line i + 1 describes row i of :class:`IJBMeta`."""
    return Path(root) / "meta" / f"{protocol}_name_5pts_score.txt"


def meta_paths(root: str | Path, protocol: str) -> list[Path]:
    """Return the paths of the existing files that :func:`read_meta` reads."""
    names = ["face_tid_mid.txt", "template_pair_label.txt", "1N_probe_mixed.csv"]
    names += [f"1N_gallery_{name}.csv" for name in GALLERIES]
    paths = (Path(root) / "meta" / f"{protocol}_{name}" for name in names)
    return [faces_path(root, protocol), *(path for path in paths if path.exists())]


def image_paths(root: str | Path, protocol: str, names: list[str]) -> list[Path]:
    """Return the paths of the images of :attr:`IJBMeta.names`.

    Raises:
        MetaError: If an image is missing; the message names the list and the line.
    """
    folder = Path(root) / "loose_crop"
    there = {entry.name for entry in os.scandir(folder)}
    for line, name in enumerate(names, start=1):
        if name not in there:
            listed = f"{faces_path(root, protocol)}:{line}"
            raise MetaError(f"{listed}: {folder / name} does not exist")
    return [folder / name for name in names]


def write_meta(root: str | Path, protocol: str, meta: IJBMeta) -> None:
    """Write ``root/meta/<protocol>_*``, the files that :func:`read_meta` reads."""
    folder = Path(root) / "meta"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{protocol}_face_tid_mid.txt", [meta.names, meta.template_ids, meta.media_ids])
    points = meta.landmarks.reshape(len(meta.names), 10)
    texts = [[f"{value:.4f}" for value in column] for column in points.T.tolist()]
    scores = [f"{value:.6f}" for value in meta.detector_score.tolist()]
    _write(folder / f"{protocol}_name_5pts_score.txt", [meta.names, *texts, scores])
    pairs = [meta.first, meta.second, meta.genuine.astype(np.uint8)]
    _write(folder / f"{protocol}_template_pair_label.txt", pairs)
    lists = {f"gallery_{name}": gallery for name, gallery in meta.galleries.items()}
    for name, templates in {**lists, "probe_mixed": meta.probes}.items():
        columns = [templates.template_ids, templates.subject_ids]
        header = ("TEMPLATE_ID", "SUBJECT_ID")
        _write(folder / f"{protocol}_1N_{name}.csv", columns, header, separator=",")


def _write(
    path: Path, columns: list[Any], header: tuple[str, ...] = (), separator: str = " "
) -> None:
    import pyarrow
    from pyarrow.csv import WriteOptions, write_csv

    table = pyarrow.table(columns, names=header or list(map(str, range(len(columns)))))
    options = WriteOptions(
        include_header=bool(header),
        delimiter=separator,
        quoting_style="none",
        quoting_header="none",
    )
    with path.open("wb") as file:  # pyarrow cannot open a path that is not UTF-8
        write_csv(table, file, options)


def _read(path: Path, types: list[type], separator: str = " ", header: int = 0) -> list[np.ndarray]:
    """Read the columns of a file; a file with a header may have further columns."""
    import pyarrow

    if path.exists() and not path.is_file():
        raise MetaError(f"{path}: not a regular file")
    with path.open("rb") as file:
        count = len(_fields(_text(file.readline()), separator)) if header else len(types)
    names = list(map(str, range(max(count, len(types)))))
    try:
        # As bytes, because pyarrow cannot open a str path that is not UTF-8.
        with pyarrow.OSFile(os.fsencode(path)) as file:
            return _parse(file, types, names, separator, header)
    except pyarrow.ArrowException:
        tidied = _tidied(path, separator)
    try:
        return _parse(io.BytesIO(tidied), types, names, separator, header)
    except pyarrow.ArrowException as error:
        fault = _first_fault(tidied, types, count, separator, header)
        raise MetaError(f"{path}:{fault or ' ' + first_line(error)}") from None


def _parse(
    source: Any, types: list[type], names: list[str], separator: str, header: int
) -> list[np.ndarray]:
    import pyarrow
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

    kinds = [pyarrow.string() if kind is str else pyarrow.from_numpy_dtype(kind) for kind in types]
    table = read_csv(
        source,
        ReadOptions(column_names=names, skip_rows=header),
        ParseOptions(
            delimiter=separator, quote_char='"' if header else False, ignore_empty_lines=False
        ),
        ConvertOptions(
            column_types=dict(zip(names, kinds, strict=False)),
            include_columns=names[: len(types)],
            null_values=[],
        ),
    )
    columns = [table[name].to_numpy() for name in table.column_names]
    if not len(table) or not all(np.isfinite(c).all() for c in columns if c.dtype.kind == "f"):
        raise pyarrow.ArrowInvalid("no rows, or not finite")
    return columns


def _tidied(path: Path, separator: str) -> bytes:
    """Read a file without byte order mark, trailing blanks and blank last lines.

    In a file that is separated by spaces, several blanks or tabs in a row become one space.
    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise MetaError(f"{path}: {size} bytes; a list has at most {MOST_BYTES}")
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    content = re.sub(rb"[ \t\r]*\n", b"\n", content).rstrip() + b"\n"
    return re.sub(rb"[ \t]+", b" ", content) if separator == " " else content


def _first_fault(
    tidied: bytes, types: list[type], count: int, separator: str, header: int
) -> str | None:
    """Find the first faulty line of a file that pyarrow refused, and describe the fault."""
    line = 0
    for line, text in enumerate(io.BytesIO(tidied), start=1):
        if line <= header or tidied == b"\n":
            continue
        fields = _fields(_text(text), separator)
        if len(fields) != count:
            return f"{line}: expected {count} columns, found {len(fields)}"
        for kind, field in zip(types, fields, strict=False):
            try:
                if kind is str:
                    field.encode()
                elif not np.isfinite(kind(field)):
                    raise ValueError
            except (ValueError, OverflowError):
                what = {str: "UTF-8", np.int64: "a whole number"}.get(kind, "a number")
                return f"{line}: expected {what}, found {reprlib.repr(field)}"
    return None if line > max(1, header) else " there are no lines"


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode(errors="surrogateescape")


def _fields(text: str, separator: str) -> list[str]:
    """Split a line into its fields; if commas separate them, they may be quoted."""
    try:
        return next(csv.reader([text]), [""]) if separator == "," else text.split(separator)
    except csv.Error:  # a field longer than 128 KiB
        return text.split(separator)


def _check_known(path: Path, ids: np.ndarray, known: np.ndarray, first_line: int) -> None:
    absent = np.flatnonzero(~np.isin(ids, known))
    if absent.size:
        raise MetaError(f"{path}:{absent[0] + first_line}: template {ids[absent[0]]} has no image")


def _read_templates(path: Path, known: np.ndarray, subjects: dict[int, int]) -> Templates:
    """Read a 1:N list; ``subjects`` collects the subject of each template over all lists."""
    template_ids, subject_ids = _read(path, [np.int64, np.int64], ",", header=1)
    _check_known(path, template_ids, known, first_line=2)
    rows = zip(template_ids.tolist(), subject_ids.tolist(), strict=True)
    for line, (template, subject) in enumerate(rows, start=2):
        if subjects.setdefault(template, subject) != subject:
            raise MetaError(
                f"{path}:{line}: template {template} is of subject {subject} here"
                f" and of {subjects[template]} above"
            )
    # A template has one row per image; keep the first of each.
    index = np.sort(np.unique(template_ids, return_index=True)[1])
    return Templates(template_ids[index], subject_ids[index])
