"""One's own photos, ``root/<identity>/*``, to training records and an IJB-layout benchmark."""

import csv
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lh2face.data.align import TEMPLATE, TEMPLATE_SIZE
from lh2face.data.ijb_meta import write_meta
from lh2face.data.recordio import RecordWriter
from lh2face.data.synthetic.generate import benchmark_meta, write_csv
from lh2face.progress import track

log = logging.getLogger(__name__)
JPEG_QUALITY = 95
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
class Photo:
    """One readable photo: where it is, its encoded pixels, its five landmarks ``(5, 2)``."""

    path: Path
    jpeg: bytes
    landmarks: np.ndarray


def convert(
    root: Path, out: Path, *, aligned: bool, landmarks: Path | None, benchmark_fraction: float,
    seed: int, fold: int = 0, parts: Collection[str] = LEAST,
) -> None:  # fmt: skip
    """Write ``train/`` and ``benchmark/``, people of one not in the other.

    A photo that cannot be read, or has no landmarks, is left out, as is a person with fewer than
    two photos; each stands with its reason in ``failures.csv`` of either part.

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
    failures: list[dict[str, str]] = []
    people = []
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in track(folders, "reading people"):
        photos = []
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            try:
                photos.append(_read(path, points, root))
            except ImageFolderError as error:
                failures.append({"file": str(path.relative_to(root)), "reason": str(error)})
        if len(photos) < 2:
            reason = f"{len(photos)} usable images; a person needs at least 2"
            failures.append({"file": folder.name, "reason": reason})
        else:
            people.append(photos)
    if failures:
        log.warning("%s: left out %d, listed in failures.csv", root, len(failures))
    rng = np.random.default_rng(seed)
    groups = dict.fromkeys(parts, np.arange(len(people)))
    count = round(benchmark_fraction * len(people))
    shared = len(groups) > 1
    sizes = {"train": len(people) - count, "benchmark": count}
    if any((sizes[part] if shared else len(people)) < LEAST[part] for part in groups):
        raise ImageFolderError(
            f"data.image_folder.root: {root} has {len(people)} people with 2 images or more; the "
            f"benchmark needs 4 and training 2 (benchmark_fraction {benchmark_fraction})"
        )
    order = rng.permutation(len(people))
    if shared:
        folds = len(people) // count
        if fold >= folds:
            raise ImageFolderError(
                f"data.image_folder.fold: expected 0 … {folds - 1} (benchmark_fraction "
                f"{benchmark_fraction} of {len(people)} people), found {fold}"
            )
        groups["benchmark"] = np.sort(order[fold * count : (fold + 1) * count])
        groups["train"] = np.setdiff1d(groups["train"], groups["benchmark"])
    if "train" in parts:
        _write_train([people[i] for i in groups["train"]], out / "train")
    if "benchmark" in parts:
        _write_benchmark([people[i] for i in groups["benchmark"]], out / "benchmark", rng)
    for part in groups:
        write_csv(out / part / "failures.csv", ("file", "reason"), failures)


def read_landmarks(path: Path, root: Path) -> dict[Path, np.ndarray]:
    """Landmarks by photo.

    Raises:
        ImageFolderError: If a line is not a path and ten numbers, or its photo does not exist.
    """
    points = {}
    try:
        lines = list(csv.reader(path.open(encoding="utf-8", newline="")))
    except FileNotFoundError:
        raise ImageFolderError(f"data.image_folder.landmarks: {path} does not exist") from None
    for number, (name, *values) in enumerate(filter(None, lines), start=1):
        photo = root / name
        if not photo.is_file():
            raise ImageFolderError(f"{path}:{number}: there is no image {photo}")
        try:
            points[photo] = np.array(values, np.float32).reshape(5, 2)
        except ValueError:
            raise ImageFolderError(
                f"{path}:{number}: expected 10 numbers after the path, found {values}"
            ) from None
    return points


def _read(path: Path, points: dict[Path, np.ndarray] | None, root: Path) -> Photo:
    # Not imread: it takes no path that the locale cannot write.
    content = np.frombuffer(path.read_bytes(), np.uint8)
    if content.size == 0:
        raise ImageFolderError("the file is empty")
    image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    if image is None:
        raise ImageFolderError("not an image OpenCV can read")
    if points is None:
        landmarks = centred_landmarks(*image.shape[:2])
    elif path in points:
        landmarks = points[path]
    else:
        raise ImageFolderError("it is not in the landmark file")
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return Photo(path, jpeg, landmarks)


def centred_landmarks(height: int, width: int) -> np.ndarray:
    """Where the template's points lie on the smallest centred square around an image, px."""
    side = max(height, width)
    corner = np.array([width - side, height - side], np.float32) / 2
    return (TEMPLATE * (side / TEMPLATE_SIZE) + corner).astype(np.float32)


def _write_train(people: list[list[Photo]], out: Path) -> None:
    out.mkdir(parents=True)
    photos = [(identity, photo) for identity, group in enumerate(people) for photo in group]
    with RecordWriter(out / "train.rec") as writer:
        writer.write(0, b"", [float(len(photos) + 1)] * 2)
        for key, (identity, photo) in enumerate(photos, start=1):
            writer.write(key, photo.jpeg, identity)
    np.save(out / "landmarks.npy", np.stack([photo.landmarks for _, photo in photos]))
    (out / "property").write_text(f"{len(people)},112,112\n")
    rows = [{"key": key, "identity": identity} for key, (identity, _) in enumerate(photos, 1)]
    write_csv(out / "images.csv", ("key", "identity"), rows)


def _write_benchmark(people: list[list[Photo]], out: Path, rng: np.random.Generator) -> None:
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
                (out / "loose_crop" / rows[-1]["name"]).write_bytes(photo.jpeg)
                landmarks.append(photo.landmarks)
                templates.append(len(subjects))
    write_csv(out / "images.csv", ("name", "identity", "kind"), rows)
    meta = benchmark_meta(
        [row["name"] for row in rows], np.stack(landmarks), np.ones(len(rows), np.float32),
        np.array(templates), np.arange(1, len(rows) + 1), subjects=np.array(subjects),
    )  # fmt: skip
    write_meta(out, "bench", meta)
    (out / "pairs").mkdir()
    write_csv(out / "pairs" / "photos.csv", ("first", "second", "same"), _pairs(rows, rng))


def _pairs(rows: list[dict], rng: np.random.Generator) -> list[dict[str, object]]:
    names = [
        [row["name"] for row in rows if row["identity"] == identity]
        for identity in range(rows[-1]["identity"] + 1)
    ]
    pairs = []
    for _ in range(PAIRS):
        person, other = rng.choice(len(names), 2, replace=False)
        first, second = rng.choice(names[person], 2, replace=False)
        pairs.append({"first": first, "second": second, "same": 1})
        pairs.append({"first": first, "second": rng.choice(names[other]), "same": 0})
    return pairs
