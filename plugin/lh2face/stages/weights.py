"""Stage ``weights``: check and convert the pretrained weights with which trainings begin."""

from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.artifacts.provenance import write_provenance
from lh2face.files.digests import digest
from lh2face.files.outputs import atomic_dir

if TYPE_CHECKING:
    from lh2face.params import Params


def run(params: "Params", source: Path, out: Path) -> None:
    """Write the backbone's weights as ``weights.safetensors``, and ``provenance.json``.

    Args:
        params: The parameters; ``train`` is read.
        source: File or folder that :func:`~lh2face.training.weights.read_weights` can read.
        out: Folder to write.

    Raises:
        WeightsError: If the weights cannot be read, or do not fit the backbone of ``train``.
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
