"""The synthetic data set: training records and an IJB-layout benchmark of disjoint people."""

import json
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lh2face.data.ijb_meta import IJBMeta, Templates, write_meta
from lh2face.data.recordio import RecordWriter
from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import Photograph, Scene, photograph, random_scene
from lh2face.files.tables import PAIR_LIST, write_rows
from lh2face.progress import track

# Of the faces: the people of a seed are those of every version, their pictures are not.
VERSION = 2
# The two kinds of people; the number is part of the seed of each.
PARTS = {"train": 0, "benchmark": 1}
# The photographs of a benchmark person: kind, how many, and whether they are frames of one video.
SESSIONS = (
    ("frontal", 2, False), ("any", 3, True), ("frontal", 2, False), ("profile", 2, False),
    ("profile", 2, False), ("low_quality", 3, False), ("aged", 3, False), ("occluded", 1, False),
    ("any", 3, True),
)  # fmt: skip
# Which sessions make up which template; the first template is the person's gallery entry.
TEMPLATES = ((0, 1), (2,), (3,), (4,), (5,), (6,), (7, 8))
# Impostor pairs of templates, at most, for each template; with fewer templates there are all pairs.
IMPOSTORS = 1000
# What the second face of each verification bin's pairs is; the first is a frontal one.
BINS = {"frontal": "frontal", "profile": "profile", "low_quality": "low_quality",
        "cross_age": "aged"}  # fmt: skip
COLUMNS = ("identity", "kind", "yaw", "pitch", "roll", "age", "quality", "occlusion")


@dataclass(frozen=True)
class SyntheticConfig:
    """Sizes of the synthetic data set.

    Attributes:
        train_people: People to train on, ≥ 2.
        images_per_person: Photographs of each of them.
        benchmark_people: People of the benchmark, ≥ 4, none of them among the former.
        image_size: Side of the loose crops, px.
        pairs: Genuine pairs of each verification bin, and as many impostor pairs.
        truth_images: Benchmark photographs whose true depth is kept.
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
        config: Sizes.
        out: Folder to write into, made if need be.
        seed: Seed of everything.
        workers: Processes; they do not change the result.

    Raises:
        ChildProcessError: If one of the processes is killed.
    """
    with _people("train", config.train_people, config, seed, workers) as people:
        _write_train(config, people, out)
    _write_version(config, seed, out)


def write_benchmark(config: SyntheticConfig, out: Path, *, seed: int, workers: int) -> None:
    """Write the benchmark in the layout of IJB; arguments and errors as :func:`write_train`."""
    with _people("benchmark", config.benchmark_people, config, seed, workers) as people:
        _write_benchmark(config, people, out, np.random.default_rng([seed, 2]))
    _write_version(config, seed, out)


def _write_version(config: SyntheticConfig, seed: int, out: Path) -> None:
    """``generator.json``: what makes these faces again, and with which version of the generator."""
    made = {"version": VERSION, "seed": seed, **asdict(config)}
    (out / "generator.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")


@contextmanager
def _people(
    part: str, count: int, config: SyntheticConfig, seed: int, workers: int
) -> Iterator[Iterator[list[tuple[dict[str, object], Photograph]]]]:
    """The photographs of the people of a part, in order, made by other processes.

    Raises:
        ChildProcessError: If one of the processes is killed.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        jobs = [(part, i) for i in range(count)]
        yield pool.map(partial(_person, config, seed), jobs, chunksize=2)
    except BrokenProcessPool:
        # The pool forgets a worker that it starts while another is killed, and waits for it.
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise ChildProcessError(
            "a worker that makes faces was killed, perhaps for want of memory: try fewer workers"
        ) from None
    finally:
        # Where writing fails, nobody waits for the rest of the people.
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without it, the workers of a process that was killed would wait for ever for more work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _person(
    config: SyntheticConfig, seed: int, job: tuple[str, int]
) -> list[tuple[dict[str, object], Photograph]]:
    """All photographs of one person, each with its row of attributes."""
    part, index = job
    split = PARTS[part]
    person = sample_identity(np.random.default_rng([seed, split, index]))
    scenes, kinds = [], []
    if part == "train":
        for i in range(config.images_per_person):
            scenes.append(_scene("any", seed, split, index, i))
            kinds.append("any")
    else:
        for session, (kind, count, video) in enumerate(SESSIONS):
            shots = [_scene(kind, seed, split, index, 100 * session + i) for i in range(count)]
            if video:
                shots = [_next_frame(shots[0], shot) for shot in shots]
            scenes += shots
            kinds += [kind] * count
    rows = [
        {
            "identity": index, "kind": kind, "yaw": round(s.yaw, 2), "pitch": round(s.pitch, 2),
            "roll": round(s.roll, 2), "age": round(s.age, 3),
            "quality": round(1 - s.degradation, 3), "occlusion": int(s.glasses or s.mask),
        }
        for s, kind in zip(scenes, kinds, strict=True)
    ]  # fmt: skip
    return list(zip(rows, photograph(person, scenes, config.image_size), strict=True))


def _scene(kind: str, *key: int) -> Scene:
    choices, shot = np.random.SeedSequence(key).spawn(2)
    return random_scene(kind, np.random.default_rng(choices), shot)


def _next_frame(first: Scene, frame: Scene) -> Scene:
    """A frame of a video: the age and occlusion of its first, about its pose and quality."""
    frame.age, frame.glasses, frame.mask = first.age, first.glasses, first.mask
    frame.yaw = 0.8 * first.yaw + 0.2 * frame.yaw
    frame.degradation = 0.8 * first.degradation + 0.2 * frame.degradation
    return frame


def _write_train(
    config: SyntheticConfig, people: Iterator[list[tuple[dict, Photograph]]], out: Path
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    count = config.train_people * config.images_per_person
    landmarks, rows = [], []
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
    people: Iterator[list[tuple[dict, Photograph]]],
    out: Path,
    rng: np.random.Generator,
) -> None:
    (out / "loose_crop").mkdir(parents=True)
    rows, landmarks, truth = [], [], []
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


def benchmark_meta(
    names: list[str], landmarks: np.ndarray, score: np.ndarray, template_ids: np.ndarray,
    media_ids: np.ndarray, *, subjects: np.ndarray, rng: np.random.Generator,
) -> IJBMeta:  # fmt: skip
    """Meta files of a benchmark: pairs of templates, first templates as galleries G1 and G2.

    ``subjects`` gives the people 0, 1, … of templates 1 … T, ascending; G1 holds the first half.
    """
    templates = np.arange(1, len(subjects) + 1)
    first, second = template_pairs(subjects, rng)
    is_gallery = np.r_[True, subjects[1:] != subjects[:-1]]
    half = (subjects[-1] + 1) // 2
    halves = {"G1": subjects < half, "G2": subjects >= half}
    return IJBMeta(
        names=names,
        landmarks=landmarks,
        detector_score=score,
        template_ids=template_ids,
        media_ids=media_ids,
        first=templates[first],
        second=templates[second],
        genuine=subjects[first] == subjects[second],
        galleries={
            name: Templates(templates[is_gallery & half], subjects[is_gallery & half])
            for name, half in halves.items()
        },
        probes=Templates(templates[~is_gallery], subjects[~is_gallery]),
    )


def template_pairs(subjects: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of templates to compare, each once: all, or all genuine ones and some impostors.

    Above ``2 · IMPOSTORS + 1`` templates the impostors are drawn, so that their number grows with
    that of the templates and not with its square; every template is in about as many.

    Args:
        subjects: ``(T,)`` the person of each template, ascending.
        rng: Draws the impostors.

    Returns:
        Two ``(P,)`` int64 arrays of indices into ``subjects``, the first below the second,
        ascending.
    """
    count = len(subjects)
    if count <= 2 * IMPOSTORS + 1:
        return np.triu_indices(count, 1)
    starts = np.flatnonzero(np.r_[True, subjects[1:] != subjects[:-1]])
    sizes = np.diff(np.r_[starts, count])
    pairs = [start + np.triu_indices(size, 1) for start, size in zip(starts, sizes, strict=True)]
    # On a circle in random order, two templates are at one distance only, so no pair comes twice.
    circle = rng.permutation(count)
    for distance in rng.choice(np.arange(1, (count + 1) // 2), IMPOSTORS, replace=False):
        pair = np.sort([circle, np.roll(circle, distance)], axis=0)
        pairs.append(pair[:, subjects[pair[0]] != subjects[pair[1]]])
    first, second = np.concatenate(pairs, axis=1)
    order = np.lexsort([second, first])
    return first[order], second[order]


def _bin_pairs(
    rows: list[dict], kind: str, count: int, rng: np.random.Generator
) -> Iterator[tuple[str, str, int]]:
    """Genuine and impostor pairs by turns: a frontal face and one of the kind."""
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
