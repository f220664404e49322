"""Stage ``data``: faces to train on and a benchmark, made or converted."""

from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.stages.files import atomic_dir

if TYPE_CHECKING:
    from lh2face.stages.params import Params


def run(params: "Params", out: Path) -> None:
    """Write ``train/`` and ``benchmark/`` from ``params.data.source``.

    Raises:
        ValueError: As the source: it names the parameter or the file.
    """
    with atomic_dir(out) as folder:
        SOURCES[params.data.source](params, folder)


def _synthetic(params: "Params", out: Path) -> None:
    from lh2face.data.synthetic import SyntheticConfig, generate

    config = SyntheticConfig(**params.data.synthetic.model_dump())
    generate(config, out, seed=params.data.seed, workers=params.workers)


def _image_folder(params: "Params", out: Path) -> None:
    from lh2face.data.image_folder import convert

    source = params.data.image_folder
    convert(
        Path(source.root),
        out,
        aligned=source.aligned,
        landmarks=None if source.landmarks is None else Path(source.landmarks),
        benchmark_fraction=source.benchmark_fraction,
        seed=params.data.seed,
    )


SOURCES = {"synthetic": _synthetic, "image_folder": _image_folder}
