"""Conversion of photos ``root/<identity>/*`` to training records or a benchmark like IJB."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from lh2face.data.align import TEMPLATE_SIZE
from lh2face.data.detectors import AnyDetector, check_one_way
from lh2face.data.ijb_meta import write_meta
from lh2face.data.images import ImageError, decode_rgb, encode_jpeg
from lh2face.data.landmark_list import ImageFolderError, read_landmarks
from lh2face.data.located_faces import Locate, centred, detected, examine, listed
from lh2face.data.parallel import in_order
from lh2face.data.paths import inside
from lh2face.data.recordio import WRITE_BYTES, RecordWriter
from lh2face.data.sources import LeftOut, people, photos, repeated
from lh2face.data.template_lists import benchmark_meta
from lh2face.files.tables import PAIR_LIST, write_rows
from lh2face.progress import track

PAIRS = 300
# Most probe templates per person: the number of template pairs grows with their square.
PROBES = 5
# The kind of all photos in images.csv, since it is unknown how they were taken.
KIND = "photo"
# Five points of two float32.
LANDMARK_BYTES = 40
# Long enough that two of a million different photos do not get the same digest by chance.
DIGEST_BYTES = 16
SEVERAL = "several_faces.csv"
# Least number of people for each purpose.
LEAST = {"train": 2, "benchmark": 4}


class Photo(NamedTuple):
    """One usable photo; a small object, because there may be a million.

    Attributes:
        name: File name in the person's folder.
        digest: Digest of the file's content.
        start: Offset in :attr:`Photos.store` of its landmarks, which its bytes follow.
        size: Number of its bytes.
        is_crop: Whether it has the size of an aligned crop.
    """

    name: str
    digest: bytes
    start: int
    size: int
    is_crop: bool


@dataclass(frozen=True)
class Photos:
    """The usable photos of a folder of people.

    Attributes:
        root: The folder.
        people: Photos of each person with two or more, sorted by the person's name.
        left_out: The photos and people that are not used, with reasons.
        several: Paths of photos with several faces, and the number of faces found.
        store: Temporary file with the landmarks and bytes of the photos.
    """

    root: Path
    people: list[list[Photo]]
    left_out: list[LeftOut]
    several: list[tuple[str, int]]
    store: IO[bytes]

    def content(self, photo: Photo) -> tuple[np.ndarray, bytes]:
        """Read the landmarks ``(5, 2)`` float32 in px, and the file's bytes, of a photo."""
        self.store.seek(photo.start)
        points = np.frombuffer(self.store.read(LANDMARK_BYTES), np.float32).reshape(5, 2)
        return points, self.store.read(photo.size)

    def check_enough(self, people: int, least: int, what: str) -> None:
        """Raise :class:`ImageFolderError` if there are fewer than ``least`` people."""
        if people < least:
            example = "".join("; left out is {}: {}".format(*one) for one in self.left_out[:1])
            raise ImageFolderError(
                f"{self.root}: {len(self.people)} people with 2 usable images or more, {people} of "
                f"them for {what}, which needs {least}{example}"
            )

    def write_failures(self, out: Path) -> None:
        """Write ``failures.csv`` and, if a photo has several faces, ``several_faces.csv``."""
        rows = [(str(Path(p).relative_to(self.root)), reason) for p, reason in self.left_out]
        write_rows(out / "failures.csv", ("file", "reason"), rows)
        if self.several:
            counted = [(str(Path(p).relative_to(self.root)), faces) for p, faces in self.several]
            write_rows(out / SEVERAL, ("file", "faces"), counted)

    def __str__(self) -> str:
        """Write the end of a message: how much is left out, how many photos have several faces."""
        found = f"; left out {len(self.left_out)}, listed in failures.csv" * bool(self.left_out)
        if self.several:
            found += f"; {describe_several(len(self.several))}"
        return found


def describe_several(photos: int) -> str:
    """Describe how many photos have several faces, and which face is used."""
    return (
        f"{photos} photos with several faces, listed in {SEVERAL}; the most central of the large "
        "ones is used"
    )


def held_out(
    found: Photos, fraction: float, fold: int | list[int], rng: np.random.Generator
) -> np.ndarray:
    """Select the people who are held out for a benchmark; the others are for training.

    Args:
        found: The photos.
        fraction: Share of the people in one fold, in (0, 1).
        fold: Number of the fold, from 0, or several of them. The folds of a seed have no person in
            common.
        rng: Random generator, for the order of the people.

    Returns:
        Indices into ``found.people``, ascending.

    Raises:
        ImageFolderError: If there is no such fold.
    """
    people = len(found.people)
    order = rng.permutation(people)
    count = round(fraction * people)
    folds = people // count if count else 1
    kept = [fold] if isinstance(fold, int) else fold
    if max(kept) >= folds:
        raise ImageFolderError(
            f"{found.root}: held_out.fold: expected 0 … {folds - 1} (fraction {fraction} of "
            f"{people} people), found {max(kept)}"
        )
    return np.unique([order[one * count : (one + 1) * count] for one in kept])


class PhotoFolder(Protocol):
    """Interface of a source or benchmark of photos by person, such as ``ImageFolderBenchmark``."""

    @property
    def path(self) -> str: ...
    @property
    def aligned(self) -> bool: ...
    @property
    def landmarks(self) -> str | None: ...
    @property
    def detector(self) -> AnyDetector | None: ...


@contextmanager
def read_photos(folder: PhotoFolder, scratch: Path, workers: int) -> Iterator[Photos]:
    """Read the photos ``path/<identity>/*`` once, and check that each can be used.

    Args:
        folder: The folder, and the one way in which its faces are found.
        scratch: Folder for a temporary file with the photos' bytes, which may not fit in memory.
        workers: Number of threads that decode.

    Yields:
        The photos; they can be read until the context ends.

    Raises:
        ImageFolderError: If there is no such folder, no way to find the faces is given, or
            :func:`read_landmarks` raises it.
        ValueError: If a detector is given together with ``landmarks`` or ``aligned``.
    """
    root = Path(folder.path)
    check_one_way(folder, folder.path)
    landmarks = None if folder.landmarks is None else inside(root, folder.landmarks, "landmarks")
    detect = None if folder.detector is None else folder.detector.open()
    if not root.is_dir():
        raise ImageFolderError(f"{root}: is not a folder; expected one with one folder per person")
    if not folder.aligned and landmarks is None and detect is None:
        raise ImageFolderError(f"{root}: give landmarks or a detector, or set aligned: true")
    locate = centred
    if detect is not None:
        locate = partial(detected, detect)
    elif landmarks is not None:
        locate = partial(listed, read_landmarks(landmarks, root))
    with tempfile.TemporaryFile(buffering=WRITE_BYTES, dir=scratch) as store:
        yield Photos(root, *_read_people(root, locate, store, workers), store)


def _read_people(
    root: Path, locate: Locate, store: IO[bytes], workers: int
) -> tuple[list[list[Photo]], list[LeftOut], list[tuple[str, int]]]:
    """Read all photos into ``store``; return those of each person, what is left out, and which
    have several faces.
    """
    folders, left_out = people(root)
    several = []
    groups: list[list[Photo]] = [[] for _ in folders]
    end = 0

    def jobs() -> Iterator[tuple[int, Path]]:
        for number, folder in enumerate(track(folders, "reading people")):
            paths, beside = photos(folder)
            left_out.extend(beside)
            yield from ((number, path) for path in paths)

    for number, path, found in in_order(
        lambda job: (*job, examine(job[1], locate)), jobs(), workers
    ):
        if isinstance(found, ImageError):
            left_out.append(LeftOut(str(path), found.reason))
        else:
            content, located = found
            is_crop = located.height == located.width == TEMPLATE_SIZE
            if located.faces > 1:
                several.append((str(path), located.faces))
            size = len(content)
            digest = hashlib.sha256(content).digest()[:DIGEST_BYTES]
            groups[number].append(Photo(path.name, digest, end, size, is_crop))
            end += store.write(located.landmarks.tobytes() + content)
    again = _repeated(folders, groups)
    left_out += again
    dropped = {where for where, _ in again}
    usable = []
    for folder, group in zip(folders, groups, strict=True):
        own = [photo for photo in group if not dropped or str(folder / photo.name) not in dropped]
        if len(own) < 2:
            reason = f"{len(own)} usable images; a person needs at least 2"
            left_out.append(LeftOut(str(folder), reason))
        else:
            usable.append(own)
    return usable, left_out, [one for one in several if one[0] not in dropped]


def _repeated(folders: list[Path], groups: list[list[Photo]]) -> list[LeftOut]:
    """Call :func:`~lh2face.data.sources.repeated` for the photos that are not unique."""
    known: set[bytes] = set()
    again: set[bytes] = set()
    for photo in chain.from_iterable(groups):
        (again if photo.digest in known else known).add(photo.digest)
    found = zip(folders, groups, strict=True)
    return repeated(
        {folder / p.name: p.digest for folder, group in found for p in group if p.digest in again}
    )


def write_train(found: Photos, members: np.ndarray, out: Path, *, crops: bool) -> bool:
    """Write the records of training people; the photos' bytes are copied unchanged.

    It also writes ``property``, ``failures.csv`` and, unless every photo is an aligned crop,
    ``images.csv`` with ``landmarks.npy`` in the same order.

    Args:
        found: The photos.
        members: Indices of the people, ascending; they become the identities 0, 1, …
        out: Folder to write to; it is created if it is missing.
        crops: Whether photos of the size of a crop are already aligned.

    Returns:
        Whether all photos are aligned crops.

    Raises:
        ImageFolderError: If there are fewer than two people.
    """
    found.check_enough(len(members), LEAST["train"], "training")
    out.mkdir(parents=True, exist_ok=True)
    chosen = [(i, photo) for i, person in enumerate(members) for photo in found.people[person]]
    aligned = crops and all(photo.is_crop for _, photo in chosen)
    landmarks = np.empty((len(chosen), 5, 2), np.float32)
    with RecordWriter(out / "train.rec") as writer:
        writer.write(0, b"", [float(len(chosen) + 1)] * 2)
        for key, (identity, photo) in enumerate(chosen, start=1):
            landmarks[key - 1], content = found.content(photo)
            writer.write(key, content, identity)
    size = f"{TEMPLATE_SIZE},{TEMPLATE_SIZE}"
    (out / "property").write_text(f"{len(members)},{size}\n", "utf-8")
    if not aligned:
        np.save(out / "landmarks.npy", landmarks)
        rows = ((key, identity) for key, (identity, _) in enumerate(chosen, start=1))
        write_rows(out / "images.csv", ("key", "identity"), rows)
    found.write_failures(out)
    return aligned


def write_benchmark(
    found: Photos, members: np.ndarray, out: Path, rng: np.random.Generator
) -> None:
    """Write a benchmark in the layout of IJB, with the photos encoded again as JPEG.

    The first half of a person's photos forms the gallery template; the others form probes.

    Args:
        found: The photos.
        members: Indices of the people, ascending.
        out: Folder to write to.
        rng: Random generator that draws the pairs.

    Raises:
        ImageFolderError: If there are fewer than four people.
    """
    found.check_enough(len(members), LEAST["benchmark"], "the benchmark")
    (out / "loose_crop").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    landmarks, templates, subjects = [], [], []
    for identity, group in enumerate(found.people[person] for person in members):
        probes = len(group) // 2
        parts = np.array_split(np.arange(len(group) - probes, len(group)), min(PROBES, probes))
        for part in (np.arange(len(group) - probes), *parts):
            subjects.append(identity)
            for photo in (group[i] for i in part):
                points, content = found.content(photo)
                rows.append({"name": f"{len(rows) + 1}.jpg", "identity": identity, "kind": KIND})
                jpeg = encode_jpeg(decode_rgb(content, None, photo.name))
                (out / "loose_crop" / rows[-1]["name"]).write_bytes(jpeg)
                landmarks.append(points)
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
    found.write_failures(out)


def _pairs(rows: list[dict[str, Any]], rng: np.random.Generator) -> list[tuple[str, str, int]]:
    """Draw genuine and impostor pairs, alternating: two names of photos, and 1 or 0."""
    names = [[row["name"] for row in group] for _, group in groupby(rows, itemgetter("identity"))]
    pairs = []
    for _ in range(PAIRS):
        person, other = rng.choice(len(names), 2, replace=False)
        first, second = rng.choice(names[person], 2, replace=False)
        pairs.append((first, second, 1))
        pairs.append((first, rng.choice(names[other]), 0))
    return pairs
