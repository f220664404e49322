"""Stage ``data``: faces to train on and a benchmark, made or converted."""

from pathlib import Path
from typing import TYPE_CHECKING

from lh2face.artifacts.outputs import atomic_dirs

if TYPE_CHECKING:
    from lh2face.stages.params import Params


def run(params: "Params", out: Path) -> None:
    """Write ``train/`` and ``benchmark/`` from their sources.

    Raises:
        ValueError: As the source: it names the parameter or the file.
    """
    source_of = {"train": params.data.source, "benchmark": params.data.source_of_benchmark}
    given: list[Path] = []
    if "image_folder" in source_of.values():
        photos = params.data.image_folder
        given = [Path(path) for path in (photos.root, photos.landmarks) if path is not None]
    with atomic_dirs(out, list(source_of), given) as folder:
        for source in set(source_of.values()):
            parts = [part for part in source_of if source_of[part] == source]
            SOURCES[source](params, folder, parts)


def _synthetic(params: "Params", out: Path, parts: list[str]) -> None:
    from lh2face.data.synthetic import SyntheticConfig, generate

    config = SyntheticConfig(**params.data.synthetic.model_dump())
    generate(config, out, seed=params.data.seed, workers=params.workers, parts=parts)


def _image_folder(params: "Params", out: Path, parts: list[str]) -> None:
    from lh2face.data.image_folder import convert

    source = params.data.image_folder
    convert(
        Path(source.root),
        out,
        aligned=source.aligned,
        landmarks=None if source.landmarks is None else Path(source.landmarks),
        benchmark_fraction=source.benchmark_fraction,
        seed=params.data.seed,
        fold=source.fold,
        parts=parts,
    )


SOURCES = {"synthetic": _synthetic, "image_folder": _image_folder}
