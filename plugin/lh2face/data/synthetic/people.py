"""Photographs of synthetic people, made by several processes."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch

from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import Photograph, Scene, photograph, random_scene

# The two groups of people; the number is part of the seed of each person.
GROUPS = {"train": 0, "benchmark": 1}
# The photographs of a benchmark person: kind, how many, and whether they are frames of one video.
SESSIONS = (
    ("frontal", 2, False), ("any", 3, True), ("frontal", 2, False), ("profile", 2, False),
    ("profile", 2, False), ("low_quality", 3, False), ("aged", 3, False), ("occluded", 1, False),
    ("any", 3, True),
)  # fmt: skip


@contextmanager
def photographed(
    group: str, count: int, images: int, size: int, seed: int, workers: int
) -> Iterator[Iterator[list[tuple[dict[str, object], Photograph]]]]:
    """Provide an iterator over people in order, whose photographs other processes make.

    Args:
        group: A key of ``GROUPS``.
        count: Number of people.
        images: Number of photographs per person, for people to train on.
        size: Side of a photograph, in px.
        seed: Seed of all random draws.
        workers: Number of processes; the result does not depend on it.

    Yields:
        An iterator over lists, one per person, of photographs with their rows of ``images.csv``.

    Raises:
        ChildProcessError: If one of the processes is killed.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
    try:
        jobs = [(group, i) for i in range(count)]
        yield pool.map(partial(_person, images, size, seed), jobs, chunksize=2)
    except BrokenProcessPool:
        # A worker that starts while another one is killed would make the shutdown wait forever.
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise ChildProcessError(
            "a worker that makes faces was killed, perhaps for lack of memory: try fewer workers"
        ) from None
    finally:
        # If writing failed, the remaining people are not made.
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker with its parent; otherwise it would wait forever if the parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _person(
    images: int, size: int, seed: int, job: tuple[str, int]
) -> list[tuple[dict[str, object], Photograph]]:
    """Make all photographs of one person, each with its row of ``images.csv``."""
    group, index = job
    number = GROUPS[group]
    person = sample_identity(np.random.default_rng([seed, number, index]))
    scenes, kinds = [], []
    if group == "train":
        for i in range(images):
            scenes.append(_scene("any", seed, number, index, i))
            kinds.append("any")
    else:
        for session, (kind, count, video) in enumerate(SESSIONS):
            shots = [_scene(kind, seed, number, index, 100 * session + i) for i in range(count)]
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
    return list(zip(rows, photograph(person, scenes, size), strict=True))


def _scene(kind: str, *key: int) -> Scene:
    choices, shot = np.random.SeedSequence(key).spawn(2)
    return random_scene(kind, np.random.default_rng(choices), shot)


def _next_frame(first: Scene, frame: Scene) -> Scene:
    """Turn a scene into a later frame of a video, which differs only a little from the first."""
    frame.age, frame.glasses, frame.mask = first.age, first.glasses, first.mask
    frame.yaw = 0.8 * first.yaw + 0.2 * frame.yaw
    frame.degradation = 0.8 * first.degradation + 0.2 * frame.degradation
    return frame
