"""Measure the disk space and memory of an image folder's benchmark by its number of photos.

    python benchmarks/image_folder.py [--photos 5000 20000 40000] [--convert 500 2000]

The first table is for the lists of the benchmark, which has a quarter of the photos, with five per
person. The second table is for the conversion of real files; its memory should not grow with their
number.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from measure import peak_memory
from rich.console import Console
from rich.table import Table

from lh2face.data.benchmarks.image_folder import ImageFolderBenchmark
from lh2face.data.ijb_meta import write_meta
from lh2face.data.parameters import HeldOut
from lh2face.data.template_lists import benchmark_meta
from lh2face.data.training_sources import ImageFolder

# Photos per person: one is a template of the gallery, the others are probes.
PHOTOS = 5
FRACTION = 0.25
SIZE = 224


def write_lists(photos: int, root: str) -> None:
    """Write the meta files of a benchmark as an image folder with this many photos does."""
    probes = PHOTOS // 2
    people = int(FRACTION * photos) // PHOTOS
    templates = np.r_[np.zeros(PHOTOS - probes, int), 1 + np.arange(probes)]
    ids = 1 + (np.arange(people)[:, None] * (1 + probes) + templates).ravel()
    meta = benchmark_meta(
        [f"{i}.jpg" for i in range(1, len(ids) + 1)],
        np.zeros((len(ids), 5, 2), np.float32),
        np.ones(len(ids), np.float32),
        ids,
        np.arange(1, len(ids) + 1),
        subjects=np.repeat(np.arange(people), 1 + probes),
        rng=np.random.default_rng(0),
    )
    write_meta(root, "bench", meta)


def convert_photos(root: str, out: str) -> None:
    """Convert a folder of photos to a training source and a benchmark."""
    for part, kind in (("train", ImageFolder), ("benchmark", ImageFolderBenchmark)):
        Path(out, part).mkdir(parents=True)
        kind(root, aligned=True, held_out=HeldOut(FRACTION)).write(Path(out, part), 1)


def write_photos(count: int, root: Path) -> None:
    """Write photos of noise, whose files are large."""
    rng = np.random.default_rng(0)
    for i in range(count):
        folder = root / f"{i // PHOTOS:05}"
        folder.mkdir(exist_ok=True)
        image = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), image)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="*", default=[5000, 20_000, 40_000])
    parser.add_argument("--convert", type=int, nargs="*", default=[500, 2000])
    arguments = parser.parse_args()
    console = Console()
    table = Table("photos", "pairs of templates", "MB on disk", "MiB of memory")
    for photos in arguments.photos:
        with tempfile.TemporaryDirectory() as folder:
            memory = peak_memory(write_lists, photos, folder)
            pairs = Path(folder, "meta", "bench_template_pair_label.txt")
            with pairs.open("rb") as file:
                count = sum(1 for _ in file)
            size = sum(path.stat().st_size for path in pairs.parent.iterdir()) / 1e6
        table.add_row(f"{photos:,}", f"{count:,}", f"{size:.0f}", f"{memory / 2**20:.0f}")
    console.print(table)
    table = Table("photos converted", "MB of JPEG written", "MiB of memory")
    for photos in arguments.convert:
        with tempfile.TemporaryDirectory() as folder:
            root, out = Path(folder, "photos"), Path(folder, "out")
            root.mkdir()
            write_photos(photos, root)
            memory = peak_memory(convert_photos, str(root), str(out))
            size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
        table.add_row(f"{photos:,}", f"{size:.0f}", f"{memory / 2**20:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
