"""Estimate time and memory of training with millions of identities, by measurement and arithmetic.

    python benchmarks/scale.py [--classes 2000000] [--batch 128] [--processes 8 64]

The script measures the time and memory of a step of the head at two numbers of classes, and so how
they grow. For each process, it computes the memory of the proxies with gradient and momentum, and
the bytes that are sent.
"""

import argparse
import resource
import time
from multiprocessing import get_context

import torch
from rich.console import Console
from rich.table import Table

from lh2face.heads import LH2FaceHead

DIM = 512
MEASURED = (50_000, 200_000)
FLOAT = 4
GIB = 2**30


def step_cost(classes: int, batch: int, results) -> None:
    """Measure the seconds of a step of the head, and its MiB without the proxies and gradient."""
    torch.manual_seed(0)
    head = LH2FaceHead(num_classes=classes, in_channels=DIM)
    embeddings = torch.randn(batch, DIM, requires_grad=True)
    labels = torch.randint(classes, (batch,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        head.proxies.weight.grad = None
        start = time.perf_counter()
        sum(v for k, v in head.loss(embeddings, labels).items() if "loss" in k).backward()
        seconds.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gradient = classes * DIM * FLOAT / 2**20
    results.put((min(seconds), (after - before) / 1024 - gradient))


def per_process(classes: int, batch: int, processes: int) -> dict[str, float]:
    """Compute the GiB held and the MiB sent by each process."""
    proxies = classes / processes * DIM * FLOAT
    return {
        # The factor 3 is for weight, gradient and momentum.
        "proxies, gradient and momentum, GiB": 3 * proxies / GIB,
        # Every process gets the embeddings of all processes, and sends back their gradients.
        "embeddings and their gradients sent per step, MiB": (
            2 * batch * processes * DIM * FLOAT / 2**20
        ),
        # DistributedDataParallel's ring all-reduce; IResNet-50 has 43.6 million parameters.
        "backbone's gradients sent per step, MiB": 2 * 43.6e6 * FLOAT / 2**20,
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=2_000_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--processes", type=int, nargs="*", default=[8, 64])
    arguments = parser.parse_args()
    context, console = get_context("spawn"), Console()
    table = Table("classes", "s per step", "µs per class", "MiB without proxies and gradient")
    for classes in MEASURED:
        results = context.Queue()
        process = context.Process(target=step_cost, args=(classes, arguments.batch, results))
        process.start()
        seconds, memory = results.get()
        process.join()
        table.add_row(
            f"{classes:,}", f"{seconds:.3f}", f"{1e6 * seconds / classes:.2f}", f"{memory:.0f}"
        )
    console.print(table)
    computed = [per_process(arguments.classes, arguments.batch, n) for n in arguments.processes]
    table = Table(
        f"{arguments.classes:,} classes", *(f"{n} processes" for n in arguments.processes)
    )
    for name in computed[0]:
        table.add_row(name, *(f"{found[name]:.2f}" for found in computed))
    console.print(table)


if __name__ == "__main__":
    main()
