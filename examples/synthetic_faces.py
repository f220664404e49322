"""Aligned faces of people who do not exist, so that the examples need no photos."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lh2face.data.align import norm_crop
from lh2face.data.datasets import decode_rgb
from lh2face.data.recordio import RecordWriter
from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import photograph, random_scene


def faces(people: int, photos: int, kind: str = "any") -> Iterator[tuple[int, np.ndarray]]:
    """Yield identity and aligned face ``(112, 112, 3)`` uint8 RGB, several photos per person."""
    for person in range(people):
        rng = np.random.default_rng(person)
        identity = sample_identity(rng)
        seeds = np.random.SeedSequence(person).spawn(photos)
        for photo in photograph(identity, [random_scene(kind, rng, s) for s in seeds], 128):
            yield person, norm_crop(decode_rgb(photo.jpeg, None, "a face"), photo.landmarks)


def write_records(folder: Path, people: int, photos: int) -> None:
    """Write the faces as ``train.rec``, ``train.idx`` and ``property``, which training reads."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    with RecordWriter(folder / "train.rec") as writer:
        for key, (person, face) in enumerate(faces(people, photos), start=1):
            writer.write(key, cv2.imencode(".png", face[..., ::-1])[1].tobytes(), person)
    (folder / "property").write_text(f"{people},112,112\n")
