"""Stage ``weights``: the weights that trainings begin from, checked and in one form."""

from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.artifacts.provenance import write_provenance
from lh2face.files.digests import digest
from lh2face.files.outputs import atomic_dir

if TYPE_CHECKING:
    from lh2face.params import Params


def run(params: "Params", source: Path, out: Path) -> None:
    """Write ``weights.safetensors``, the backbone's, and in ``provenance.json`` their origin.

    Args:
        params: The parameters; ``train`` is read.
        source: What :func:`~lh2face.training.weights.read_weights` reads.
        out: Folder to write.

    Raises:
        WeightsError: If they cannot be read, or are not those of the backbone of ``train``.
    """
    import torch

    from lh2face.artifacts.model import write_weights
    from lh2face.registry import build
    from lh2face.training.weights import WEIGHTS, read_weights

    network = params.train.recipe().model.backbone.to_dict()
    with torch.device("meta"):
        backbone = build("backbone", network, "train.config: model.backbone", in_channels=3)
    weights = read_weights(source, backbone)
    with atomic_dir(out, [source]) as folder:
        write_weights(folder / WEIGHTS, {name: w.contiguous() for name, w in weights.items()})
        write_provenance(folder, {"path": str(source), "digest": digest(source)})
