"""The synthetic dataset: training records, and a benchmark in IJB's layout with other people."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lh2face.data.ijb_meta import write_meta
from lh2face.data.recordio import RecordWriter
from lh2face.data.synthetic.people import SESSIONS, photographed
from lh2face.data.synthetic.photograph import Photograph
from lh2face.data.template_lists import benchmark_meta
from lh2face.files.tables import PAIR_LIST, write_rows
from lh2face.progress import track

# Version of the pictures; the people of a seed are the same in every version.
VERSION = 2
# Sessions of each template; the first template is the person's gallery entry.
TEMPLATES = ((0, 1), (2,), (3,), (4,), (5,), (6,), (7, 8))
# Kind of the second face in the pairs of each verification bin; the first face is frontal.
BINS = {"frontal": "frontal", "profile": "profile", "low_quality": "low_quality",
        "cross_age": "aged"}  # fmt: skip
COLUMNS = ("identity", "kind", "yaw", "pitch", "roll", "age", "quality", "occlusion")


@dataclass(frozen=True)
class SyntheticConfig:
    """Sizes of the synthetic dataset.

    Attributes:
        train_people: Number of people to train on, ≥ 2.
        images_per_person: Number of photographs of each of them.
        benchmark_people: Number of people in the benchmark, ≥ 4; none of them is trained on.
        image_size: Side of the loose crops, in px.
        pairs: Number of genuine pairs of each verification bin, and of its impostor pairs.
        truth_images: Number of benchmark photographs whose true depth is kept.
    """

    train_people: int = 160
    images_per_person: int = 12
    benchmark_people: int = 60
    image_size: int = 128
    pairs: int = 300
    truth_images: int = 120


def write_train(config: SyntheticConfig, out: Path, *, seed: int, workers: int) -> None:
    """Write the people to train on; the same seed gives the same bytes.

    Args:
        config: Sizes of the dataset.
        out: Folder to write into; it is made if it does not exist.
        seed: Seed of all random draws.
        workers: Number of processes; the result does not depend on it.

    Raises:
        ChildProcessError: If one of the processes is killed.
    """
    count, images, size = config.train_people, config.images_per_person, config.image_size
    with photographed("train", count, images, size, seed, workers) as people:
        _write_train(config, people, out)
    _write_version(config, seed, out)


def write_benchmark(config: SyntheticConfig, out: Path, *, seed: int, workers: int) -> None:
    """Write the benchmark in the layout of IJB, with the arguments of :func:`write_train`."""
    count, images, size = config.benchmark_people, config.images_per_person, config.image_size
    with photographed("benchmark", count, images, size, seed, workers) as people:
        _write_benchmark(config, people, out, np.random.default_rng([seed, 2]))
    _write_version(config, seed, out)


def _write_version(config: SyntheticConfig, seed: int, out: Path) -> None:
    """Write ``generator.json``, with the version, seed and sizes that reproduce the faces."""
    made = {"version": VERSION, "seed": seed, **asdict(config)}
    (out / "generator.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")


def _write_train(
    config: SyntheticConfig, people: Iterator[list[tuple[dict[str, Any], Photograph]]], out: Path
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    count = config.train_people * config.images_per_person
    landmarks: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    with RecordWriter(out / "train.rec") as writer:
        writer.write(0, b"", [float(count + 1), float(count + 1)])
        for _ in track(range(config.train_people), "people to train on"):
            for row, photo in next(people):
                rows.append({"key": len(rows) + 1, **row})
                landmarks.append(photo.landmarks)
                writer.write(len(rows), photo.jpeg, int(row["identity"]))
    np.save(out / "landmarks.npy", np.stack(landmarks))
    size = config.image_size
    (out / "property").write_text(f"{config.train_people},{size},{size}\n", "utf-8")
    write_rows(out / "images.csv", ("key", *COLUMNS), (row.values() for row in rows))


def _write_benchmark(
    config: SyntheticConfig,
    people: Iterator[list[tuple[dict[str, Any], Photograph]]],
    out: Path,
    rng: np.random.Generator,
) -> None:
    (out / "loose_crop").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    landmarks, truth = [], []
    template_ids, media_ids = [], []
    template_of = {s: t for t, sessions in enumerate(TEMPLATES) for s in sessions}
    total = config.benchmark_people * sum(count for _, count, _ in SESSIONS)
    kept = set(np.linspace(0, total - 1, min(config.truth_images, total)).astype(int).tolist())
    media = 0
    for person in track(range(config.benchmark_people), "people of the benchmark"):
        photos = iter(next(people))
        for session, (_, count, video) in enumerate(SESSIONS):
            for frame in range(count):
                row, photo = next(photos)
                media += 1 if frame == 0 or not video else 0
                if len(rows) in kept:
                    truth.append((len(rows), photo.depth, photo.view))
                rows.append({"name": f"{len(rows) + 1}.jpg", **row})
                (out / "loose_crop" / rows[-1]["name"]).write_bytes(photo.jpeg)
                landmarks.append(photo.landmarks)
                template_ids.append(person * len(TEMPLATES) + template_of[session] + 1)
                media_ids.append(media)
    write_rows(out / "images.csv", ("name", *COLUMNS), (row.values() for row in rows))
    if truth:
        index, depth, view = zip(*truth, strict=True)
        np.savez(
            out / "truth.npz", index=np.array(index), depth=np.stack(depth).astype(np.float16),
            view=np.stack(view),
        )  # fmt: skip
    write_meta(
        out,
        "bench",
        benchmark_meta(
            [row["name"] for row in rows],
            np.stack(landmarks),
            np.array([row["quality"] for row in rows], np.float32),
            np.array(template_ids),
            np.array(media_ids),
            subjects=np.repeat(np.arange(config.benchmark_people), len(TEMPLATES)),
            rng=rng,
        ),
    )
    (out / "pairs").mkdir()
    for name, kind in BINS.items():
        pairs = _bin_pairs(rows, kind, config.pairs, rng)
        write_rows(out / "pairs" / f"{name}.csv", PAIR_LIST, pairs)


def _bin_pairs(
    rows: list[dict[str, Any]], kind: str, count: int, rng: np.random.Generator
) -> Iterator[tuple[str, str, int]]:
    """Yield genuine and impostor pairs in alternation: a frontal face and a face of the kind."""
    by_person: dict[int, dict[str, list[str]]] = {}
    for row in rows:
        by_person.setdefault(row["identity"], {}).setdefault(row["kind"], []).append(row["name"])
    people = len(by_person)
    for _ in range(count):
        person, other = rng.choice(people, 2, replace=False)
        first = rng.choice(by_person[person]["frontal"])
        for same, owner in ((1, person), (0, other)):
            choices = [name for name in by_person[owner][kind] if name != first]
            yield first, rng.choice(choices), same
