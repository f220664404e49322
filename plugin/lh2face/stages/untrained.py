"""Stage ``untrained``: make an untrained network, the baseline row of the table."""

from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.artifacts.provenance import provenance
from lh2face.files.outputs import atomic_dir
from lh2face.text import check_utf8

if TYPE_CHECKING:
    from lh2face.params import Params


def run(params: "Params", out: Path, *, seed: int) -> None:
    """Write a recognizer with random weights, in the format of stage ``train``.

    Args:
        params: The parameters; the model of ``train``'s recipe is read.
        out: Folder to write: ``model.safetensors``, ``model.json``.
        seed: Seed of the weights.
    """
    import torch

    from lh2face.artifacts.model import save_model
    from lh2face.registry import build

    check_utf8(out)
    torch.manual_seed(seed)
    config = {**params.train.recipe().model.to_dict(), "head": None}
    with atomic_dir(out) as folder:
        made = provenance(params=config, data={}, seed=seed)
        save_model(folder, build("recognizer", config, "model"), config, made)
