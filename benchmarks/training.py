"""Training through mmengine's Runner against the same network in a bare PyTorch loop.

    python benchmarks/training.py [--steps 12] [--batch 64] [--rounds 3]

MobileFaceNet at 112 × 112 with the LH2Face head, images from a record file. Each run is a process
of its own that keeps freed memory as stage ``train`` does: without that, page faults take from a
third to more than half of the time of either, by chance. The two take turns, so that a busy
machine slows both; the median of the rounds counts.
"""

import argparse
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from lh2face.configs import RECOGNITION
from lh2face.data.datasets import RecordFaces
from lh2face.data.synthetic import SyntheticConfig
from lh2face.data.synthetic.generate import write_train
from lh2face.registry import MODELS
from lh2face.stages.memory import reuse_freed_memory


def config_for(root: Path, steps: int, batch: int) -> Config:
    """The project's config for a fixed number of steps."""
    config = Config.fromfile(RECOGNITION)
    config.work_dir = str(root / "work")
    config.experiment_name = f"benchmark-{time.time_ns()}"
    config.train_dataloader.update(batch_size=batch, num_workers=0)
    config.train_dataloader.dataset.root = str(root / "train")
    # By the default sampler an iteration-based loop sleeps two seconds between epochs.
    config.train_dataloader.sampler = {"type": "InfiniteSampler"}
    config.train_cfg = {"by_epoch": False, "max_iters": steps}
    config.param_scheduler = None
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    return config


def runner(root: Path, steps: int, batch: int) -> float:
    """Seconds that the Runner takes for the steps."""
    made = Runner.from_cfg(config_for(root, steps, batch))
    start = time.perf_counter()
    made.train()
    return time.perf_counter() - start


def bare(root: Path, steps: int, batch: int) -> float:
    """Seconds that a plain loop takes for the same steps."""
    config = config_for(root, steps, batch)
    model = MODELS.build(config.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    data = RecordFaces(str(root / "train"), image_size=112)
    loader = DataLoader(data, batch, shuffle=True, drop_last=True)
    model.train()
    start = time.perf_counter()
    done = 0
    while done < steps:
        for images in loader:
            inputs = images["inputs"].float().div(127.5).sub(1)
            inputs = torch.where(torch.rand(len(inputs), 1, 1, 1) < 0.5, inputs.flip(3), inputs)
            embeddings = model.backbone(inputs.contiguous(memory_format=torch.channels_last))
            terms = model.head.loss(embeddings, images["label"])
            optimizer.zero_grad(set_to_none=True)
            sum(value for name, value in terms.items() if "loss" in name).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            done += 1
            if done == steps:
                break
    return time.perf_counter() - start


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        size = SyntheticConfig(train_people=20, benchmark_people=4, image_size=112)
        write_train(size, root / "train", seed=0, workers=2)
        times = {runner: [], bare: []}
        for _ in range(arguments.rounds):
            for run, seconds in times.items():
                with get_context("spawn").Pool(1, initializer=reuse_freed_memory) as process:
                    seconds.append(process.apply(run, (root, arguments.steps, arguments.batch)))
        through, plain = (statistics.median(seconds) for seconds in times.values())
    images = arguments.steps * arguments.batch
    print(
        f"mmengine's Runner {images / through:.1f} images/s, bare loop {images / plain:.1f}: "
        f"{through / plain:.3f} times as long (aim: at most 1.05)"
    )


if __name__ == "__main__":
    main()
