"""Measure how many synthetic photos per second are rendered, degraded, encoded and written.

    python benchmarks/synthetic.py [--people 100] [--workers 2]

The time includes the start of the workers.
"""

import argparse
import tempfile
import time
from pathlib import Path

from lh2face.data.synthetic import SyntheticConfig
from lh2face.data.synthetic.generate import write_benchmark, write_train
from lh2face.data.synthetic.people import SESSIONS


def main() -> None:
    """Print the rate for one data set of the default image size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    config = SyntheticConfig(train_people=arguments.people, benchmark_people=arguments.people // 2)
    images = config.train_people * config.images_per_person
    images += config.benchmark_people * sum(count for _, count, _ in SESSIONS)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for part, write in (("train", write_train), ("benchmark", write_benchmark)):
            write(config, Path(folder, part), seed=0, workers=arguments.workers)
        seconds = time.perf_counter() - start
    print(
        f"{images} images of {config.image_size} px in {seconds:.1f} s: {images / seconds:.0f} "
        f"images/s with {arguments.workers} workers (aim: 60)"
    )


if __name__ == "__main__":
    main()
