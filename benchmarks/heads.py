"""Compare time and memory of a step of every head with its matrix products and with other heads.

    python benchmarks/heads.py [--batch 128] [--classes 100000]

A step is the forward and backward pass of one head at d = 512. The least possible time is that of
the matrix products in the head's formula: the logits and two gradients. They have twice as many
rows if proxies are also compared with proxies. Memory is the peak of a step, without the proxies
and their gradient.
"""

import argparse
from functools import partial

import torch
import torch.nn.functional as F
from measure import peak_memory, seconds
from pytorch_metric_learning import losses as peers
from rich.console import Console
from rich.table import Table

from lh2face import heads

DIM = 512


class PlainCosFace(torch.nn.Module):
    """The simplest CosFace: normalised matrices, a dense matrix of margins, cross-entropy."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(classes, DIM))

    def forward(self, embeddings, labels):
        cos = F.linear(F.normalize(embeddings), F.normalize(self.weight)).clamp(-1, 1)
        margin = torch.zeros_like(cos).scatter_(1, labels[:, None], 0.35)
        return F.cross_entropy(64 * (cos - margin), labels)


class Head(torch.nn.Module):
    """One of the project's heads, by name."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.head = getattr(heads, name)(classes, DIM)

    def forward(self, embeddings, labels):
        terms = self.head.loss(embeddings, labels)
        return sum(value for key, value in terms.items() if "loss" in key)


MODULES = {
    "plain CosFace": PlainCosFace,
    "pytorch-metric-learning CosFace": lambda classes: peers.CosFaceLoss(classes, DIM),
    "pytorch-metric-learning ArcFace": lambda classes: peers.ArcFaceLoss(classes, DIM),
    "pytorch-metric-learning ProxyAnchor": lambda classes: peers.ProxyAnchorLoss(classes, DIM),
    **{
        name.removesuffix("Head"): partial(Head, name)
        for name in heads.__all__
        if name.endswith("Head")
    },
}


def batch(size: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw embeddings ``(size, DIM)`` and labels ``(size,)``."""
    torch.manual_seed(0)
    return 2 * torch.randn(size, DIM), torch.randint(classes, (size,))


def step(module, embeddings, labels) -> None:
    """Run a forward and backward pass; gradients are new each time, as after ``zero_grad``."""
    embeddings.requires_grad_().grad = None
    module.zero_grad(set_to_none=True)
    module(embeddings, labels).backward()


def products(rows: int, classes: int):
    """Return a function that computes only the products of the logits and the two gradients."""
    weight, x, logits = (
        torch.randn(classes, DIM),
        torch.randn(rows, DIM),
        torch.randn(rows, classes),
    )

    def run():
        torch.mm(x, weight.T)
        torch.mm(logits, weight)
        torch.mm(logits.T, x)

    return run


def one_step(name: str, size: int, classes: int) -> None:
    """Create a module and run one step; called in a new process, whose memory is measured."""
    step(MODULES[name](classes), *batch(size, classes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--classes", type=int, nargs="+", default=[10_000, 100_000])
    arguments = parser.parse_args()
    for size in arguments.batch:
        for classes in arguments.classes:
            report(size, classes)


def report(size: int, classes: int) -> None:
    """Print the table for one batch size and number of classes."""
    floor = {rows: seconds(products(rows, classes)) for rows in (size, 2 * size)}
    own = 4 * DIM * classes * 2
    table = Table(title=f"batch {size}, {classes} classes; products {1e3 * floor[size]:.0f} ms")
    for column in ("head", "ms", "÷ its products", "MiB", "÷ plain CosFace"):
        table.add_column(column, justify="left" if column == "head" else "right")
    plain = None
    for name, build in MODULES.items():
        module, (embeddings, labels) = build(classes), batch(size, classes)
        time = seconds(partial(step, module, embeddings, labels))
        del module
        extra = peak_memory(one_step, name, size, classes) - own
        plain = plain or extra
        rows = 2 * size if name == "LH2Face" else size
        table.add_row(
            name, f"{1e3 * time:.0f}", f"{time / floor[rows]:.2f}", f"{extra / 2**20:.0f}",
            f"{extra / plain:.2f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
