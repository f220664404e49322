"""One's own photos, ``root/<identity>/*``, to training records and an IJB-layout benchmark."""

import codecs
import csv
import hashlib
import logging
import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lh2face.data.align import TEMPLATE, TEMPLATE_SIZE, check_landmarks
from lh2face.data.csv_files import PAIR_LIST, write_rows
from lh2face.data.ijb_meta import write_meta
from lh2face.data.images import ImageError, decode_rgb, encode_jpeg, read_file
from lh2face.data.recordio import RecordWriter
from lh2face.data.sources import LIST_LINE, LeftOut, people, photos, repeated
from lh2face.data.synthetic.generate import benchmark_meta
from lh2face.progress import track

log = logging.getLogger(__name__)
PAIRS = 300
# Probe templates of a person, at most: the list of all pairs grows with their square.
PROBES = 5
# How the photos were taken: nothing is known of it.
KIND = "photo"
# The least number of people of each part.
LEAST = {"train": 2, "benchmark": 4}


class ImageFolderError(ValueError):
    """A folder or landmark file that cannot be used; the message names it."""


@dataclass(frozen=True)
class HeldOut:
    """People kept for a benchmark.

    Attributes:
        fraction: Share of the people.
        fold: Which share of them; the folds have no person in common.
        seed: Seed of the split.
    """

    fraction: float = 0.25
    fold: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Photo:
    """One usable photo.

    Attributes:
        path: Where it is.
        digest: Of the file: equal for equal files.
        start: Where its JPEG begins in the file of all.
        size: Bytes of its JPEG.
        landmarks: ``(5, 2)`` px.
    """

    path: Path
    digest: bytes
    start: int
    size: int
    landmarks: np.ndarray


def convert(
    root: Path, out: Path, *, aligned: bool, landmarks: Path | None, benchmark_fraction: float,
    seed: int, fold: int = 0, parts: Collection[str] = LEAST,
) -> None:  # fmt: skip
    """Write ``train/`` and ``benchmark/``, people of one not in the other.

    A photo that cannot be used is left out, as is a person with fewer than two photos; each stands
    with its reason in ``failures.csv`` of either part. Of equal files of one person the first
    counts; those of several people are all left out, as nobody can tell whose they are.

    Args:
        root: Folder with one folder a person.
        out: Folder to write into.
        aligned: The photos are upright, centred faces that fill the image.
        landmarks: CSV without header: path below ``root``, then x, y of the two eyes, the nose and
            the two mouth corners in px. Needed unless ``aligned``.
        benchmark_fraction: Share of the people in the benchmark.
        seed: Seed of the split and of the pairs.
        fold: Which share of them, from 0: the folds of a seed have no person in common.
        parts: Which of the two to write; one alone has everybody in it.

    Raises:
        ImageFolderError: If the folder or the file is missing, the file names absent images,
            there are too few people, or there is no such fold.
    """
    if not root.is_dir():
        raise ImageFolderError(f"data.image_folder.root: {root} is not a folder")
    if not aligned and landmarks is None:
        raise ImageFolderError("data.image_folder: give landmarks, or set aligned: true")
    points = read_landmarks(landmarks, root) if landmarks is not None else None
    out.mkdir(parents=True, exist_ok=True)
    # The photos' JPEGs, which may not fit into memory.
    with tempfile.TemporaryFile(dir=out) as jpegs:
        groups, left_out = _read_people(root, points, jpegs)
        if left_out:
            log.warning("%s: left out %d, listed in failures.csv", root, len(left_out))
        rng = np.random.default_rng(seed)
        members = _split(root, len(groups), parts, benchmark_fraction, fold, rng)
        if "train" in parts:
            _write_train([groups[i] for i in members["train"]], jpegs, out / "train")
        if "benchmark" in parts:
            chosen = [groups[i] for i in members["benchmark"]]
            _write_benchmark(chosen, jpegs, out / "benchmark", rng)
    rows = [(str(Path(where).relative_to(root)), reason) for where, reason in left_out]
    for part in members:
        write_rows(out / part / "failures.csv", ("file", "reason"), rows)


def _split(
    root: Path, people: int, parts: Collection[str], benchmark_fraction: float, fold: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Which people are in which part, ascending."""
    groups = dict.fromkeys(parts, np.arange(people))
    count = round(benchmark_fraction * people)
    shared = len(groups) > 1
    sizes = {"train": people - count, "benchmark": count}
    if any((sizes[part] if shared else people) < LEAST[part] for part in groups):
        raise ImageFolderError(
            f"data.image_folder.root: {root} has {people} people with 2 images or more; the "
            f"benchmark needs 4 and training 2 (benchmark_fraction {benchmark_fraction})"
        )
    order = rng.permutation(people)
    if shared:
        folds = people // count
        if fold >= folds:
            raise ImageFolderError(
                f"data.image_folder.fold: expected 0 … {folds - 1} (benchmark_fraction "
                f"{benchmark_fraction} of {people} people), found {fold}"
            )
        groups["benchmark"] = np.sort(order[fold * count : (fold + 1) * count])
        groups["train"] = np.setdiff1d(groups["train"], groups["benchmark"])
    return groups


def _read_people(
    root: Path, points: dict[Path, np.ndarray] | None, jpegs: BinaryIO
) -> tuple[list[list[Photo]], list[LeftOut]]:
    """The usable photos of each person, and what is left out; their JPEGs go into a file."""
    folders, left_out = people(root)
    groups = []
    for folder in track(folders, "reading people"):
        paths, beside = photos(folder)
        left_out += beside
        group = []
        for path in paths:
            try:
                group.append(_read(path, points, jpegs))
            except ImageError as error:
                left_out.append(LeftOut(str(path), error.reason))
        groups.append(group)
    again = repeated({photo.path: photo.digest for photo in chain.from_iterable(groups)})
    left_out += again
    dropped = {where for where, _ in again}
    usable = []
    for folder, group in zip(folders, groups, strict=True):
        own = [photo for photo in group if str(photo.path) not in dropped]
        if len(own) < 2:
            reason = f"{len(own)} usable images; a person needs at least 2"
            left_out.append(LeftOut(str(folder), reason))
        else:
            usable.append(own)
    return usable, left_out


def read_landmarks(path: Path, root: Path) -> dict[Path, np.ndarray]:
    """Landmarks by photo.

    Args:
        path: CSV without header: path of a photo, x and y of the five landmarks, px, separated by
            commas or by tabs. Blank lines, Windows' line ends and a byte order mark do no harm.
        root: Folder that the photos' paths start from.

    Returns:
        ``(5, 2)`` float32 by the photo's resolved path: look up ``photo.resolve()``.

    Raises:
        ImageFolderError: If the file cannot be read, or a line is not a path and ten numbers,
            names no photo, or gives a photo other landmarks than a line above.
    """
    if not path.is_file():
        raise ImageFolderError(f"{path} is not a file; expected a CSV of landmarks")
    points: dict[Path, np.ndarray] = {}
    with path.open("rb") as file:
        for line, (name, *values) in _rows(path, file):
            photo = root / name
            if not os.path.lexists(photo):
                raise ImageFolderError(f"{path}:{line}: there is no image {photo!s:.300}")
            try:
                found = np.array(values, np.float32).reshape(5, 2)
            except ValueError:
                raise ImageFolderError(
                    f"{path}:{line}: expected 10 numbers after the path, found {values!r:.200}"
                ) from None
            known = points.setdefault(_resolved(photo), found)
            if not np.array_equal(known, found, equal_nan=True):
                raise ImageFolderError(f"{path}:{line}: {name:.300} has other landmarks above")
    return points


def _rows(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank."""
    start = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
    file.seek(start)
    first = next((line for line in _lines(file) if line.strip()), "")
    file.seek(start)
    tabs = "\t" in first and "," not in first
    rows = csv.reader(_lines(file), delimiter="\t" if tabs else ",")
    try:
        for row in rows:
            if any(map(str.strip, row)):
                yield rows.line_num, row
    except csv.Error as error:
        raise ImageFolderError(f"{path}:{rows.line_num}: {error}") from None


def _lines(file: BinaryIO) -> Iterator[str]:
    # Paths are bytes, in whatever encoding.
    return map(os.fsdecode, iter(lambda: file.readline(LIST_LINE), b""))


def _resolved(path: Path) -> Path:
    # Not Path.resolve: it raises where links go in a circle.
    return Path(os.path.realpath(path))


def _read(path: Path, points: dict[Path, np.ndarray] | None, jpegs: BinaryIO) -> Photo:
    """A photo, its JPEG appended to a file.

    Raises:
        ImageError: If it cannot be used.
    """
    content = read_file(path)
    image = decode_rgb(content, None, str(path))
    if points is None:
        landmarks = centred_landmarks(*image.shape[:2])
    else:
        landmarks = points.get(_resolved(path))
        if landmarks is None:
            raise ImageError(path, "it is not in the landmark file")
        try:
            check_landmarks(landmarks, *image.shape[:2])
        except ValueError as error:
            raise ImageError(path, str(error)) from None
    start = jpegs.tell()
    size = jpegs.write(encode_jpeg(image))
    return Photo(path, hashlib.sha256(content).digest(), start, size, landmarks)


def _jpeg(photo: Photo, jpegs: BinaryIO) -> bytes:
    jpegs.seek(photo.start)
    return jpegs.read(photo.size)


def centred_landmarks(height: int, width: int) -> np.ndarray:
    """Where the template's points lie on the smallest centred square around an image, px."""
    side = max(height, width)
    corner = np.array([width - side, height - side], np.float32) / 2
    return (TEMPLATE * (side / TEMPLATE_SIZE) + corner).astype(np.float32)


def _write_train(people: list[list[Photo]], jpegs: BinaryIO, out: Path) -> None:
    out.mkdir(parents=True)
    photos = [(identity, photo) for identity, group in enumerate(people) for photo in group]
    with RecordWriter(out / "train.rec") as writer:
        writer.write(0, b"", [float(len(photos) + 1)] * 2)
        for key, (identity, photo) in enumerate(photos, start=1):
            writer.write(key, _jpeg(photo, jpegs), identity)
    np.save(out / "landmarks.npy", np.stack([photo.landmarks for _, photo in photos]))
    (out / "property").write_text(f"{len(people)},112,112\n", "utf-8")
    rows = [(key, identity) for key, (identity, _) in enumerate(photos, 1)]
    write_rows(out / "images.csv", ("key", "identity"), rows)


def _write_benchmark(
    people: list[list[Photo]], jpegs: BinaryIO, out: Path, rng: np.random.Generator
) -> None:
    """The first half of a person's photos is the gallery template, the others are probes."""
    (out / "loose_crop").mkdir(parents=True)
    rows, landmarks, templates, subjects = [], [], [], []
    for identity, group in enumerate(people):
        probes = len(group) // 2
        parts = np.array_split(np.arange(len(group) - probes, len(group)), min(PROBES, probes))
        for part in (np.arange(len(group) - probes), *parts):
            subjects.append(identity)
            for photo in (group[i] for i in part):
                rows.append({"name": f"{len(rows) + 1}.jpg", "identity": identity, "kind": KIND})
                (out / "loose_crop" / rows[-1]["name"]).write_bytes(_jpeg(photo, jpegs))
                landmarks.append(photo.landmarks)
                templates.append(len(subjects))
    write_rows(out / "images.csv", ("name", "identity", "kind"), (row.values() for row in rows))
    meta = benchmark_meta(
        [row["name"] for row in rows], np.stack(landmarks), np.ones(len(rows), np.float32),
        np.array(templates), np.arange(1, len(rows) + 1), subjects=np.array(subjects),
        rng=rng,
    )  # fmt: skip
    write_meta(out, "bench", meta)
    (out / "pairs").mkdir()
    write_rows(out / "pairs" / "photos.csv", PAIR_LIST, _pairs(rows, rng))


def _pairs(rows: list[dict], rng: np.random.Generator) -> list[tuple[str, str, int]]:
    """Genuine and impostor pairs by turns; of a person, the names of two photos."""
    names = [[row["name"] for row in group] for _, group in groupby(rows, itemgetter("identity"))]
    pairs = []
    for _ in range(PAIRS):
        person, other = rng.choice(len(names), 2, replace=False)
        first, second = rng.choice(names[person], 2, replace=False)
        pairs.append((first, second, 1))
        pairs.append((first, rng.choice(names[other]), 0))
    return pairs
