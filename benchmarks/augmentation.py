"""Measure the cost of each transform, and draw a sheet of its results on synthetic faces.

    python benchmarks/augmentation.py [--size 112] [--images 500] [--sheet augmentation.png]

Each transform changes every image. Its cost is compared with that of decoding a face's JPEG, which
the first epoch needs in any case. At the transform's default probability, it is also compared with
a training step, per image; the network is a MobileFaceNet of a quarter width at that size.

A learned depth comes from an untrained Unsup3D, which costs as much as a trained one. It is
measured for new images, for images whose depth is known, and for a training of 60 epochs. In such a
training an image is turned 24 times; in two of them it is new, once as it is and once mirrored.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from measure import seconds

from lh2face import augmentation
from lh2face.artifacts.file_names import DESCRIPTION, RECONSTRUCTOR_WEIGHTS
from lh2face.artifacts.model import write_weights
from lh2face.backbones import MobileFaceNet
from lh2face.data.align import norm_crop
from lh2face.data.draws import Draws
from lh2face.data.images import decode_rgb, encode_jpeg, encode_png
from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import photograph, random_scene
from lh2face.registry import MODELS, TRANSFORMS

NAMES = [name for name in augmentation.__all__ if name != "RandomTransform"]
PEOPLE, COLUMNS = 4, 8


def faces(size: int) -> list[np.ndarray]:
    """Make aligned photographs ``(S, S, 3)`` of a few synthetic people."""
    rng, found = np.random.default_rng(0), []
    for seed in np.random.SeedSequence(0).spawn(PEOPLE):
        [taken] = photograph(sample_identity(rng), [random_scene("any", rng, seed)], 160)
        crop = norm_crop(decode_rgb(taken.jpeg, None, "a photograph"), taken.landmarks)
        found.append(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA))
    return found


def changed(name: str, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a transform to an image, with probability 1."""
    transform = TRANSFORMS.build({"type": name, "probability": 1.0})
    return transform({"img": image, "rng": rng})["img"]


def sheet(size: int) -> np.ndarray:
    """Draw a row for each original face, then a row for each transform, applied several times."""
    people, draws = faces(size), Draws()
    rows = [people * (COLUMNS // PEOPLE)]
    for name in NAMES:
        rows.append([changed(name, face, draws.of(0, 0, i)) for i, face in enumerate(rows[0])])
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def step(size: int) -> float:
    """Measure the seconds per image of a training step of a small network."""
    network = MobileFaceNet(128, size - size % 16, width=0.25)
    images = torch.rand(64, 3, size - size % 16, size - size % 16)
    images = images.contiguous(memory_format=torch.channels_last)
    network.to(memory_format=torch.channels_last)

    def run() -> None:
        network.zero_grad()
        network(images).square().mean().backward()

    return seconds(run) / len(images)


def reconstructor(folder: Path) -> str:
    """Write an untrained reconstructor into a folder, as stage ``fit3d`` does."""
    config = {"type": "Unsup3DReconstructor", "image_size": 32}
    write_weights(folder / RECONSTRUCTOR_WEIGHTS, MODELS.build(config).state_dict())
    (folder / DESCRIPTION).write_text(json.dumps({"reconstructor": config, "image_size": 32}))
    return str(folder)


def main() -> None:
    """Print the table; write the sheet if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--sheet", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if arguments.sheet:
        arguments.sheet.write_bytes(encode_png(sheet(arguments.size)))
    image, draws, count = faces(arguments.size)[0], Draws(), arguments.images
    encoded = encode_jpeg(image)

    def decode() -> None:
        for _ in range(count):
            decode_rgb(encoded, None, "a face")

    floor, training = seconds(decode), step(arguments.size)
    print(
        f"decoding a face of {arguments.size} px: {count / floor:.0f} images/s on one core; "
        f"a training step: {1 / training:.0f} images/s"
    )

    def measure(
        label: str, config: dict[str, object], renew: Callable[[], None] = lambda: None
    ) -> float:
        """Print what a transform costs, and return its seconds for all images."""
        transform = TRANSFORMS.build({**config, "probability": 1.0})

        def run() -> None:
            for index in range(count):
                renew()
                transform({"img": image, "rng": draws.of(0, 0, index)})

        took = seconds(run)
        tell(label, config, took)
        return took

    def tell(label: str, config: dict[str, object], took: float) -> None:
        share = TRANSFORMS.build(config).probability * took / count / training
        print(
            f"{label}: {count / took:.0f} images/s, {took / floor:.2f} times as long as decoding; "
            f"at the default probability {share:.1%} of a training step (aim: at most 10 %)"
        )

    fresh = np.random.default_rng(0)

    def another_image() -> None:
        image[0, :2] = fresh.integers(0, 256, (2, 3))

    for name in NAMES:
        measure(name, {"type": name})
    measure("TurnedFaces, linear_3dmm", {"type": "TurnedFaces", "depth": "linear_3dmm"})
    with tempfile.TemporaryDirectory() as folder:
        learned = {"type": "TurnedFaces", "depth": "learned"}
        learned["reconstructor"] = reconstructor(Path(folder))
        new = measure("TurnedFaces, learned, new images", learned, another_image)
        known = measure("TurnedFaces, learned, known images", learned)
        tell("TurnedFaces, learned, 60 epochs", learned, (2 * new + 22 * known) / 24)


if __name__ == "__main__":
    main()
