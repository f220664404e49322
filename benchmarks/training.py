"""Compare a training step of mmengine's Runner with the same network in a plain PyTorch loop.

    python benchmarks/training.py [--blocks 12] [--steps 3] [--batch 64] [--size 112]

The network is a MobileFaceNet with the LH2Face head; the images come from a record file. The Runner
has its loop, seeds, log and TensorBoard. The plain loop has its own network, head, data and
clipping. In one process the two alternate in blocks of a few steps, so that other work on the
machine slows both. The result is the median over the blocks. A checkpoint and a validation on 300
pairs are timed separately, and counted once per thousand steps, the interval of the config's
checkpoints. Then the plain loop in bfloat16 and in float32 are compared in the same way.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from lh2face.configs import RECOGNITION
from lh2face.data.datasets import RecordFaces
from lh2face.data.images import decode_rgb, encode_jpeg
from lh2face.data.recordio import RecordReader
from lh2face.data.synthetic import SyntheticConfig
from lh2face.data.synthetic.generate import write_train
from lh2face.data.verification_bin import write_bin
from lh2face.registry import MODELS
from lh2face.training.memory import reuse_freed_memory

PAIRS = 300
INSTRUCTIONS = ("avx512_bf16", "amx_bf16")


def config_for(root: Path, batch: int, size: int, people: int) -> Config:
    """Return the project's config with these sizes, for a training that does not end by itself."""
    config = Config.fromfile(RECOGNITION)
    config.work_dir = str(root / "work")
    config.experiment_name = f"benchmark-{time.time_ns()}"
    config.train_dataloader.update(batch_size=batch, num_workers=0)
    config.train_dataloader.dataset.update(root=str(root / "train"), image_size=size)
    config.model.backbone.image_size = size
    config.model.head.num_classes = people
    config.train_cfg.max_epochs = 10_000
    config.param_scheduler = None
    config.val_dataloader.num_workers = 0
    config.val_dataloader.dataset.update(paths=[str(root / "pairs.bin")], image_size=size)
    config.train_cfg.val_interval = 10**9  # the validation is timed separately
    config.log_level = "ERROR"
    return config


def write_pairs(records: Path, out: Path) -> None:
    """Write a verification bin of training faces; half of its pairs show one person."""
    reader = RecordReader(records / "train.rec")
    faces = RecordFaces(str(records))
    keys = faces.sources[0].keys
    labels = np.array([faces[row]["label"] for row in range(len(faces))])
    rng = np.random.default_rng(0)
    rows, same = [], []
    for pair in range(PAIRS):
        first = rng.integers(len(keys))
        other = np.flatnonzero((labels == labels[first]) == (pair % 2 == 0))
        rows += [first, rng.choice(other)]
        same.append(pair % 2 == 0)
    images = [decode_rgb(reader[keys[row]][1], 112, str(records)) for row in rows]
    write_bin(out, [encode_jpeg(image) for image in images], same)


def bare_steps(config: Config, autocast: bool = False) -> Iterator[None]:
    """Run a plain training loop as a generator; each ``next`` is one step."""
    model = MODELS.build(config.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loader = config.train_dataloader
    data = RecordFaces(loader.dataset.root, image_size=loader.dataset.image_size)
    batches = DataLoader(data, loader.batch_size, shuffle=True, drop_last=True)
    model.train()
    while True:
        for images in batches:
            inputs = images["inputs"].float().div(127.5).sub(1)
            inputs = torch.where(torch.rand(len(inputs), 1, 1, 1) < 0.5, inputs.flip(3), inputs)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                terms = model.head.loss(model.backbone(inputs), images["label"])
            optimizer.zero_grad(set_to_none=True)
            sum(value for name, value in terms.items() if "loss" in name).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            yield


class EnoughError(Exception):
    """All blocks are timed."""


class TakeTurns(Hook):
    """Hook that runs as many steps of another loop after each block of steps of the Runner."""

    priority = "LOWEST"

    def __init__(self, other: Iterator[None], blocks: int, steps: int) -> None:
        self.other, self.blocks, self.steps = other, blocks, steps
        self.times: list[tuple[float, float]] = []
        self.done = 0
        self.checkpoint = self.validation = 0.0

    def before_train(self, runner: Any) -> None:
        """Begin the first block."""
        self.start = time.perf_counter()

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Count a step; at the end of a block, run a block of the other loop."""
        self.done += 1
        if self.done % self.steps:
            return
        mine = time.perf_counter() - self.start
        self.times.append((mine, timed(self.other, self.steps)))
        if len(self.times) > self.blocks:  # the first block is a warm-up
            self.checkpoint = seconds_of_checkpoint(runner)
            start = time.perf_counter()
            runner.train_loop.validate()
            self.validation = time.perf_counter() - start
            raise EnoughError
        self.start = time.perf_counter()


def seconds_of_checkpoint(runner: Any) -> float:
    """Measure the median seconds of a checkpoint, with the check that all values are finite."""
    (keeper,) = (hook for hook in runner.hooks if hasattr(hook, "kept"))
    times = []
    for _ in range(5):
        keeper.kept = -1
        start = time.perf_counter()
        keeper.save(runner)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def timed(steps: Iterator[None], number: int) -> float:
    """Measure the seconds that a number of steps take."""
    start = time.perf_counter()
    for _ in range(number):
        next(steps)
    return time.perf_counter() - start


def ratio(times: list[tuple[float, float]]) -> float:
    """Compute the median of the blocks' ratios, without the first block."""
    return statistics.median(first / second for first, second in times[1:])


def through_the_runner(config: Config, blocks: int, steps: int) -> TakeTurns:
    """Run the Runner and the plain loop in alternation; return the hook with their times."""
    turns = TakeTurns(bare_steps(config), blocks, steps)
    runner = Runner.from_cfg(config)
    runner.register_hook(turns)
    with suppress(EnoughError):
        runner.train()
    return turns


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"blocks": 12, "steps": 3, "batch": 64, "size": 112}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    reuse_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        faces = SyntheticConfig(train_people=20, benchmark_people=4, image_size=given.size)
        write_train(faces, root / "train", seed=0, workers=2)
        write_pairs(root / "train", root / "pairs.bin")
        config = config_for(root, given.batch, given.size, 20)
        turns = through_the_runner(config, given.blocks, given.steps)
        precisions = [bare_steps(config, autocast) for autocast in (True, False)]
        low = [
            tuple(timed(steps, given.steps) for steps in precisions)
            for _ in range(given.blocks + 1)
        ]
    interval = config.default_hooks.checkpoint.interval
    step = statistics.median(other for _, other in turns.times[1:]) / given.steps
    share = (turns.checkpoint + turns.validation) / (interval * step)
    print(
        f"step of {given.batch} images at {given.size} px: plain loop {1000 * step:.0f} ms; the "
        f"Runner with seeds, log and TensorBoard takes {ratio(turns.times):.3f} times as long; a "
        f"checkpoint takes {1000 * turns.checkpoint:.0f} ms, a validation on {PAIRS} pairs takes "
        f"as long as {turns.validation / step:.1f} steps; once per {interval} steps, the two add "
        f"{share:.4f} of a step to each; together {ratio(turns.times) + share:.3f} (aim: at most "
        "1.03)"
    )
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    has = {name: name in flags for name in INSTRUCTIONS}
    print(
        f"bfloat16 takes {ratio(low):.3f} times as long as float32 (aim: at most 1 where the "
        f"processor has the instructions; this one: {has})"
    )


if __name__ == "__main__":
    main()
