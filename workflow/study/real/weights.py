"""Initial weights of runs: backbones trained on synthetic people, and a trained reconstructor."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from lh2face.data.align import aligned_face
from lh2face.data.recordio import RecordReader, identity
from lh2face.data.synthetic import SyntheticConfig, write_train
from lh2face.files.arrays import read_arrays
from lh2face.files.digests import joined
from lh2face.files.outputs import atomic_dir, atomic_file, exclusive
from workflow.study.real.faces import Faces
from workflow.study.real.plan import Config, Plan, Run
from workflow.study.real.training import fit_reconstructor, train

Weights = dict[str, torch.Tensor]


def kept(path: Path, make: Callable[[], Weights]) -> Weights:
    """Load weights from a file; make them first if it does not exist.

    Raises:
        OutputError: If another process is making them.
    """
    with exclusive(path.with_suffix(".lock")):
        if not path.exists():
            weights = {name: value.contiguous() for name, value in make().items()}
            with atomic_file(path) as new:
                save_file(weights, new)
    return load_file(path)


def fitted(size: int, reconstructor: Config, wild: Faces, out: Path) -> Weights:
    """Load the weights of a reconstructor that is trained on all faces of ``wild``.

    If there are none yet, it is trained now. All runs begin with the same weights.

    Args:
        size: Side of the faces, px.
        reconstructor: The plan's entry ``reconstructor``.
        wild: The faces.
        out: Folder of the results.

    Raises:
        OutputError: If another process is training it.
    """
    digest = joined({"size": size, **reconstructor})[:12]
    return kept(
        out / "reconstructor" / f"{digest}.safetensors",
        lambda: fit_reconstructor(wild.images, wild.landmarks, **reconstructor),
    )


def pretrained(plan: Plan, one: Run, out: Path) -> Weights:
    """Load the weights of a backbone that is trained with the run's head on synthetic people.

    If there are none yet, it is trained now. All seeds of a run begin with the same weights.

    Args:
        plan: The study.
        one: A run with synthetic people.
        out: Folder of the results.

    Raises:
        OutputError: If another process is training them.
    """
    made_from = {
        "head": one.config, "people": one.synthetic, "size": plan.size,
        "backbone": plan.backbone, "batch": plan.batch,
    }  # fmt: skip
    digest = joined(made_from)[:12]

    def make() -> Weights:
        images, labels = synthetic_faces(plan.size, one.synthetic, out)
        model = train(
            images, labels, backbone=plan.backbone, head=one.config,
            transforms=next(iter(plan.views.values())), epochs=one.synthetic["epochs"],
            batch=plan.batch, seed=one.synthetic["seed"],
        )  # fmt: skip
        weights: Weights = model.backbone.state_dict()
        return weights

    return kept(out / "synthetic" / f"{one.head}-{digest}.safetensors", make)


def synthetic_faces(size: int, people: Config, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Make or load aligned synthetic faces ``(N, S, S, 3)`` uint8 RGB and labels ``(N,)`` int64."""
    name = "{people}-{images_per_person}-{seed}".format(**people)
    kept = out / "faces" / f"synthetic-{name}-{size}.npz"
    if not kept.exists():
        config = SyntheticConfig(
            train_people=people["people"], images_per_person=people["images_per_person"]
        )
        folder = out / "faces" / f"synthetic-{name}"
        if not folder.exists():
            with atomic_dir(folder) as new:
                write_train(config, new, seed=people["seed"], workers=1)
        images, labels = _aligned(folder, size)
        with atomic_file(kept) as new, new.open("wb") as file:
            np.savez(file, images=images, labels=labels)
    found = read_arrays(kept, "images", "labels")
    return found["images"], found["labels"]


def _aligned(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    reader = RecordReader(folder / "train.rec")
    images, labels = [], []
    for key, landmarks in enumerate(np.load(folder / "landmarks.npy"), 1):
        header, encoded = reader[key]
        source = f"{folder}: key {key}"
        face = aligned_face(encoded, landmarks, source)
        images.append(cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA))
        labels.append(identity(header, source))
    return np.stack(images), np.array(labels, np.int64)
