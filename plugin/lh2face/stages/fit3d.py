"""Stage ``fit3d``: train the reconstructor on the aligned faces."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lh2face.artifacts.file_names import DESCRIPTION, METRICS, RECONSTRUCTOR_WEIGHTS
from lh2face.artifacts.model import write_weights
from lh2face.artifacts.provenance import provenance
from lh2face.artifacts.training_record import TRAINING, read_training
from lh2face.data.datasets import MissingLandmarksError
from lh2face.registry import build
from lh2face.runs.fingerprint import run_fingerprint
from lh2face.runs.injection import add_training_faces
from lh2face.runs.run import train_into
from lh2face.training.memory import peak_memory
from lh2face.training.recipe import deciding_settings

if TYPE_CHECKING:
    from mmengine.config import Config

    from lh2face.params import Params


def run(params: "Params", aligned: Path, out: Path) -> None:
    """Write ``reconstructor.safetensors``, ``model.json``, ``training.csv``, ``metrics.json``.

    An interrupted run is resumed, see :mod:`lh2face.runs.run`.

    Args:
        params: The parameters; ``fit3d`` and ``sources`` are read.
        aligned: Folder of training faces, or a folder with several such folders.
        out: Folder to write.

    Raises:
        ValueError: If there are too few images for one batch, the batch size is not divisible by
            the number of processes, or for the reasons of :func:`lh2face.runs.run.train_into`.
        NonFiniteError: If the loss, a gradient or a weight becomes NaN or infinite.
        SystemExit: With status 143 after SIGTERM, when the checkpoint is written.
    """
    seed = params.fit3d.seed

    def prepare() -> tuple["Config", dict[str, Any]]:
        config = params.fit3d.recipe()
        with torch.device("meta"):
            model = build("reconstructor", config.model.reconstructor.to_dict(), "fit3d: model")
        if model.pose == "landmarks":
            config.train_dataloader.dataset.landmarks = True
        try:
            add_training_faces(config, "fit3d", aligned, model.image_size, seed, params.sources)
        except MissingLandmarksError as error:
            raise ValueError(
                f"{error}. To learn the pose without landmarks, set "
                "fit3d.options: {model.reconstructor.pose: images}"
            ) from error
        return config, run_fingerprint(config, None)

    def write(folder: Path, model: Any, config: "Config", fingerprint: dict[str, Any]) -> None:
        made = provenance(params=deciding_settings(config), data=fingerprint["data"], seed=seed)
        description = {
            "reconstructor": config.model.reconstructor.to_dict(),
            "image_size": model.reconstructor.image_size,
            "provenance": made,
        }
        weights = {name: one.cpu() for name, one in model.reconstructor.state_dict().items()}
        write_weights(folder / RECONSTRUCTOR_WEIGHTS, weights)
        batch_size = fingerprint["parameters"]["train_dataloader"]["batch_size"]
        cost, losses = read_training(folder / TRAINING, batch_size)
        metrics = {**cost, "peak_memory_mib": peak_memory(), **losses}
        for name, content in ((DESCRIPTION, description), (METRICS, metrics)):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    train_into(out, [aligned], "fit3d", prepare, write)
