"""Compare epochs of the training loader with and without workers, before and after caching.

    python benchmarks/loader.py [--images 8000] [--size 112] [--workers 2] [--epochs 4] [--step 10]

The loader and the data set are those of stage ``train``. Instead of a training step, the process
waits for ``--step`` milliseconds. In the first epoch every image is decoded. In later epochs all
images come from the cache that the processes share. Epochs with and without workers alternate, so
that other work on the machine slows both.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from recordio import faces
from torch.utils.data import DataLoader

from lh2face.configs import RECOGNITION
from lh2face.data.recordio import RecordWriter


def loader(root: Path, size: int, workers: int) -> DataLoader:
    """Build the training loader of the project's config."""
    config = Config.fromfile(RECOGNITION).train_dataloader
    config.dataset.update(root=str(root), image_size=size)
    config.update(num_workers=workers, persistent_workers=workers > 0)
    return Runner.build_dataloader(config, seed=0)


def epoch(made: DataLoader, step: float) -> float:
    """Measure the seconds of one epoch whose steps take a given number of seconds."""
    start = time.perf_counter()
    for _ in made:
        time.sleep(step)
    return time.perf_counter() - start


def main() -> None:
    """Print the seconds of the first epoch and the median of the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--step", type=float, default=10, help="ms per training step")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with RecordWriter(root / "train.rec") as writer:
            for key, image in enumerate(faces(arguments.images)):
                writer.write(key, image, key % 100)
        (root / "property").write_text("100,112,112\n")
        loaders = [loader(root, arguments.size, n) for n in (0, arguments.workers)]
        times = [
            [epoch(made, arguments.step / 1000) for made in loaders]
            for _ in range(arguments.epochs)
        ]
    (alone_first, first), *later = times
    alone, several = (statistics.median(column) for column in zip(*later, strict=True))
    print(
        f"{arguments.images} images of {arguments.size} px: first epoch {alone_first:.2f} s with "
        f"no workers, {first:.2f} s with {arguments.workers}; later epochs {alone:.2f} s and "
        f"{several:.2f} s: {several / alone:.2f} times as long (aim: at most 1)"
    )


if __name__ == "__main__":
    main()
