"""Running the study on real faces, one training after the other; existing results are kept.

Several processes can run the same study. Each takes trainings that no other process has begun.
"""

import json
import logging
import time
from pathlib import Path

import numpy as np
import torch

from lh2face.artifacts.provenance import commit
from lh2face.embedding.embedders import embed_images
from lh2face.files.arrays import read_arrays
from lh2face.files.outputs import OutputError, atomic_file, exclusive
from workflow.study.real.faces import Faces, Photos, parts_of
from workflow.study.real.figures import tuning_tar
from workflow.study.real.plan import TUNING, Config, Plan, Run, part_runs, tuning_runs
from workflow.study.real.training import train
from workflow.study.real.weights import fitted, pretrained

log = logging.getLogger(__name__)
# Commit of the code that this process runs. It is read at the start, because commits may follow.
COMMIT = commit()


def held_out(wild: Faces, people: int, seed: int) -> np.ndarray:
    """Choose the people who are left out when candidates are trained.

    Returns:
        ``(N,)`` bool, whether a photo shows one of them.

    Raises:
        ValueError: If there are not more than ``people`` people.
    """
    names = np.unique(wild.names)
    if people >= len(names):
        raise ValueError(f"tuning.people: found {people}, allowed are up to {len(names) - 1}")
    return np.isin(wild.names, np.random.default_rng(seed).choice(names, people, replace=False))


def split(plan: Plan, run: Run, photos: Photos) -> tuple[list[tuple[Faces, np.ndarray]], Faces]:
    """Return the training faces, as faces and a bool mask of the used ones, and the test faces."""
    wild = photos.wild
    if run.part == TUNING:
        out = held_out(wild, plan.tuning.people, plan.tuning.seed)
        return [(wild, ~out)], subset(wild, out)
    tested = left_out(run, photos.folds())
    every = np.ones(len(wild.paths), bool)
    return [(wild, every), (photos.cfp, bool(run.folds) & ~tested)], subset(photos.cfp, tested)


def left_out(run: Run, folds: np.ndarray) -> np.ndarray:
    """Return which faces of ``cfp`` a run tests, ``(N,)`` bool, by official folds ``(N,)``."""
    return parts_of(folds, run.folds) == run.fold if run.folds else np.ones(len(folds), bool)


def subset(faces: Faces, rows: np.ndarray) -> Faces:
    """Select faces by a bool mask ``(N,)``."""
    paths = [faces.paths[row] for row in np.flatnonzero(rows)]
    return Faces(paths, faces.images[rows], faces.landmarks[rows])


def joined(sources: list[tuple[Faces, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join the faces of several sources, whose people are all different.

    Returns:
        Images ``(N, S, S, 3)`` uint8, landmarks ``(N, 5, 2)`` float32 and labels ``(N,)`` int64.
    """
    images = np.concatenate([faces.images[rows] for faces, rows in sources])
    landmarks = np.concatenate([faces.landmarks[rows] for faces, rows in sources])
    names = [
        f"{number}/{name}"
        for number, (faces, rows) in enumerate(sources)
        for name in faces.names[rows]
    ]
    return images, landmarks, np.unique(names, return_inverse=True)[1].astype(np.int64)


def run(plan: Plan, photos: Photos, out: Path, only: list[str]) -> None:
    """Run the study.

    Args:
        plan: The study.
        photos: The faces.
        out: Folder of the results, one file per training.
        only: Names of parts; if empty, the tuning and then all parts.

    Raises:
        ValueError: If there is no such part, or the tuning is not complete.
    """
    if unknown := set(only) - {TUNING, *plan.parts}:
        raise ValueError(f"parts: found {sorted(unknown)}, allowed are {[TUNING, *plan.parts]}")
    torch.set_num_threads(1)
    for name in only or [TUNING, *plan.parts]:
        if name == TUNING:
            runs = tuning_runs(plan)
        else:
            runs = part_runs(plan, name, choose(plan, photos, out))
        for one in runs:
            once(plan, one, photos, out)


def once(plan: Plan, one: Run, photos: Photos, out: Path) -> None:
    """Train and test a run, unless it is done or another process is working on it."""
    path = out / f"{one.name}.npz"
    if is_done(plan, one, out):
        return
    try:
        with exclusive(out / "locks" / one.name):
            if not is_done(plan, one, out):
                _train(plan, one, photos, path)
    except OutputError:
        log.info("%s: another process is working on it", one.name)


def is_done(plan: Plan, one: Run, out: Path) -> bool:
    """Whether the file of a run exists, with the same settings.

    Raises:
        ValueError: If the file exists with other settings; the message says what to do.
    """
    path = out / f"{one.name}.npz"
    if not path.exists():
        return False
    found = about(one, out)["settings"]
    wanted = json.loads(json.dumps(one.settings(plan)))
    if different := [key for key in wanted if found.get(key) != wanted[key]]:
        raise ValueError(
            f"{path}: was run with other settings: {', '.join(different)}; remove it to run again"
        )
    return True


def about(one: Run, out: Path) -> Config:
    """Read ``settings``, ``seconds``, ``commit``, ``faces`` and ``people`` of a run."""
    found: Config = json.loads(str(read_arrays(out / f"{one.name}.npz", "about")["about"]))
    return found


def embeddings_of(one: Run, out: Path) -> np.ndarray:
    """Read the embeddings ``(N, 2, d)`` of a run's test faces and their mirror images."""
    return read_arrays(out / f"{one.name}.npz", "embeddings")["embeddings"]


def _train(plan: Plan, one: Run, photos: Photos, path: Path) -> None:
    begun = time.monotonic()
    sources, test = split(plan, one, photos)
    images, landmarks, labels = joined(sources)
    out = path.parents[1]
    model = train(
        images, labels, backbone=plan.backbone, head=one.config, transforms=one.transforms,
        epochs=one.epochs, batch=plan.batch, seed=one.seed, init=weights(plan, one, out),
        landmarks=landmarks if one.joint or one.landmarks else None,
        **together(plan, one, photos.wild, out),
    )  # fmt: skip
    made = {
        "settings": one.settings(plan),
        "seconds": round(time.monotonic() - begun, 1),
        "commit": COMMIT,
        "faces": len(images),
        "people": int(labels.max()) + 1,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as new, new.open("wb") as file:
        np.savez(
            file, embeddings=embed_images(model, test.images), about=np.array(json.dumps(made))
        )
    log.info("%s: %.0f s", one.name, time.monotonic() - begun)


def weights(plan: Plan, one: Run, folder: Path) -> dict[str, torch.Tensor] | None:
    """Return the backbone's initial weights from synthetic people; ``None`` for random ones."""
    if one.synthetic is None:
        return None
    return pretrained(plan, one, folder)


def together(plan: Plan, one: Run, wild: Faces, folder: Path) -> Config:
    """Return the arguments of :func:`train` for joint training; none without a reconstructor."""
    if one.joint is None or one.reconstructor is None:
        return {}
    return {
        "joint": {**one.joint, "reconstructor": one.reconstructor["config"]},
        "fitted": fitted(plan.size, one.reconstructor, wild, folder),
    }  # fmt: skip


def scores(plan: Plan, photos: Photos, out: Path) -> dict[str, float]:
    """Compute the TAR of each candidate on the people who are left out, by the candidate's name.

    Raises:
        ValueError: If a candidate was not run.
    """
    test = subset(photos.wild, held_out(photos.wild, plan.tuning.people, plan.tuning.seed))
    found = {}
    for one in tuning_runs(plan):
        if not is_done(plan, one, out):
            raise ValueError(f"{out / one.name}.npz: no such file; run the part {TUNING!r} first")
        found[one.head] = tuning_tar(test, embeddings_of(one, out), plan.tuning.far)
    return found


def choose(plan: Plan, photos: Photos, out: Path) -> dict[str, Config]:
    """Choose the best candidate of each head by :func:`scores`, and add the variants."""
    found = scores(plan, photos, out)
    chosen = {
        head: configs[max(range(len(configs)), key=lambda at: found[f"{head}-{at}"])]
        for head, configs in plan.candidates.items()
    }
    return chosen | plan.variants
