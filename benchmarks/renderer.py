"""Measure images per second of the depth-mesh renderer, and of PyTorch3D if it is installed.

    python benchmarks/renderer.py [--batch 8] [--sizes 64 112]

The scene has depth maps of faces, views up to ±60° of yaw, and textures of three channels. Measured
are the forward pass alone, and the forward and backward pass with gradients of texture, depth and
view. The renderer runs eagerly and under ``torch.compile``, without the time of compiling. For
comparison, ``grid_sample`` warps the same textures without a surface.
"""

import argparse
import math
from functools import partial

import torch
import torch.nn.functional as F
from measure import peak_memory, seconds
from rich.console import Console
from rich.table import Table

from lh2face.registry import MODELS
from lh2face.rendering import DepthMeshRenderer

AIMS = {
    ("eager", 64): (600, 250),
    ("eager", 112): (200, 80),
    ("compiled", 64): (2500, 800),
    ("compiled", 112): (800, 250),
}
PYTORCH3D = {64: (7.6, 4.6), 112: (0.96, 0.76)}


def scene(batch: int, size: int) -> list[torch.Tensor]:
    """Make textures, depth maps of a head with a nose, and views."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, size)
    x, y = axis.expand(size, size), axis[:, None].expand(size, size)
    head = 1.07 - 0.12 * (1 - (x / 0.75) ** 2 - (y / 0.95) ** 2).clamp(min=0).sqrt()
    nose = 0.02 * torch.exp(-((x / 0.1) ** 2) - ((y - 0.1) / 0.25) ** 2)
    depth = (head - nose).expand(batch, -1, -1) + 1e-4 * torch.randn(
        batch, size, size, generator=generator
    )
    view = torch.zeros(batch, 6)
    view[:, 1] = torch.linspace(-math.radians(60), math.radians(60), batch)
    view[:, 0] = 0.1 * torch.randn(batch, generator=generator)
    texture = torch.rand(batch, 3, size, size, generator=generator)
    return [t.clone().requires_grad_() for t in (texture, depth, view)]


def forward(render, inputs) -> None:
    """Render one batch without gradients."""
    with torch.no_grad():
        render(*inputs)


def both(render, inputs) -> None:
    """Render one batch, and compute the gradients of the sum of its pixels."""
    torch.autograd.grad(render(*inputs)[0].sum(), inputs, allow_unused=True)


def sampled(texture: torch.Tensor, depth: torch.Tensor, view: torch.Tensor):
    """Warp the same textures by an affine map, which is the least possible work."""
    theta = torch.eye(2, 3).repeat(len(view), 1, 1)
    theta = torch.cat([theta[:, :, :2] * view[:, 1].cos()[:, None, None], theta[:, :, 2:]], 2)
    grid = F.affine_grid(theta, list(texture.shape), align_corners=True)
    return F.grid_sample(texture, grid, align_corners=True), None


def one_batch(size: int, batch: int) -> None:
    """Run a forward and backward pass; called in a new process, whose memory is measured."""
    both(DepthMeshRenderer(size), scene(batch, size))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 112])
    arguments = parser.parse_args()
    batch = arguments.batch
    table = Table("images/s, batch of " + str(batch), "size", "forward", "aim", "both", "aim")
    for size in arguments.sizes:
        renderers = {
            "eager": DepthMeshRenderer(size),
            "compiled": DepthMeshRenderer(size, compiled=True),
            "grid_sample, for comparison": sampled,
        }
        try:
            renderers["PyTorch3D"] = MODELS.build({"type": "PyTorch3DRenderer", "image_size": size})
        except ImportError:
            if size in PYTORCH3D and batch == 8:
                once, twice = PYTORCH3D[size]
                # PyTorch3D is not installed. These rates were measured earlier, on two cores.
                table.add_row("PyTorch3D 0.7.9, earlier", str(size), f"{once}", "", f"{twice}", "")
        inputs = scene(batch, size)
        for name, render in renderers.items():
            rates = [batch / seconds(partial(way, render, inputs), 15) for way in (forward, both)]
            aims = AIMS.get((name, size), ("", ""))
            table.add_row(
                name, str(size), f"{rates[0]:.0f}", str(aims[0]), f"{rates[1]:.0f}", str(aims[1])
            )
    console = Console()
    console.print(table)
    peaks = {size: peak_memory(one_batch, size, batch) / 2**20 for size in arguments.sizes}
    for size, peak in peaks.items():
        per_pixel = 2**20 * peak / (batch * size * size)
        console.print(f"{size} px: {peak:.0f} MiB at the peak, {per_pixel:.0f} bytes per pixel")


if __name__ == "__main__":
    main()
