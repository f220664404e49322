"""``worker.py FOLDER`` trains with 1, 2 and 3 processes, and writes the results of each.

Processes are forked, so modules are imported once. Nothing may compute before the fork, because
threads do not survive it.
"""

import os
import socket
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.runner import Runner
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import lh2face.register  # noqa: F401
from lh2face.distributed import checkpoint
from lh2face.distributed.proxies import ShardedProxies
from lh2face.registry import DATASETS, MODELS
from lh2face.training import AutocastOptimWrapper

C, D, BATCH, STEPS = 7, 8, 6, 3
HEADS = [
    {"type": "NormFaceHead"},
    {"type": "CosFaceHead"},
    {"type": "ArcFaceHead"},
    {"type": "CurricularFaceHead"},
    {"type": "MagFaceHead"},
    {"type": "AdaFaceHead"},
    {"type": "SCFHead"},
    {"type": "ProxyAnchorHead"},
    {"type": "LH2FaceHead", "vmf_dim": 6},
]
# How the batch is divided, by number of processes; parts may be uneven.
SPLITS = {1: [6], 2: [4, 2], 3: [1, 3, 2]}
# Number of processes (0 is one process without a process group), and what they do, in turn.
PLAN = (
    (0, ["gradients", "run"]),
    (1, ["gradients"]),
    (3, ["gradients", "run", "other_processes_state"]),
    (2, ["gradients", "sampling", "trained", "run_half", "overflow"]),
    (0, ["resumed"]),
    (3, ["resumed", "run_on"]),
)
RANK = WORLD = 0


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def labels(seed: int) -> torch.Tensor:
    return torch.randint(C, (BATCH,), generator=torch.Generator().manual_seed(seed))


class Network(nn.Module):
    """A linear backbone and a head."""

    def __init__(self, head: dict, dtype: torch.dtype, sharded: bool, **sharding: float) -> None:
        super().__init__()
        config = {**head, "num_classes": C, "in_channels": D}
        if sharded:
            config = {"type": "ShardedHead", "head": config, **sharding}
        self.linear = nn.Linear(D, D, bias=False)
        self.head = MODELS.build(config)
        self.to(dtype)
        self.linear.weight.data.copy_(draw(D, D, seed=1))
        weight = self.proxies.weight
        start = getattr(self.proxies, "start", 0)
        weight.data.copy_(draw(C, D, seed=2)[start : start + len(weight)])

    @property
    def proxies(self) -> nn.Module:
        return getattr(self.head, "head", self.head).proxies

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images)


def parallel(network: Network) -> nn.Module:
    """Return the network as mmengine wraps it; without a process group it is not wrapped."""
    if not WORLD:
        return network
    network._ddp_params_and_buffers_to_ignore = ["head.head.proxies.weight"]
    return DistributedDataParallel(network)


def part(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.split(SPLITS[WORLD or 1])[RANK]


def step_loss(network: Network, wrapped: nn.Module, seed: int) -> tuple[torch.Tensor, dict]:
    images = draw(BATCH, D, seed=10 + seed, dtype=network.linear.weight.dtype)
    terms = network.head.loss(wrapped(part(images)), part(labels(20 + seed)))
    return sum(value for name, value in terms.items() if "loss" in name), terms


def gradients(folder: Path) -> dict:
    """Return losses, gradients and statistics of every head in two steps."""
    results = {}
    for head in HEADS:
        for dtype in (torch.float64, torch.float32):
            network = Network(head, dtype, sharded=WORLD > 0)
            wrapped = parallel(network)
            for step in range(2):
                network.zero_grad()
                loss, terms = step_loss(network, wrapped, step)
                loss.backward()
            results[head["type"], dtype] = {
                "terms": {name: value.detach() for name, value in terms.items()},
                "network": network.linear.weight.grad,
                "proxies": network.proxies.weight.grad,
                "statistics": dict(network.head.named_buffers()),
            }
    return results


def sampling(folder: Path) -> dict:
    """Take a step with a sample of the classes."""
    torch.manual_seed(RANK)
    network = Network(HEADS[-1], torch.float64, sharded=True, sample_rate=0.3)
    proxies, seen = network.proxies, []
    sample = ShardedProxies._sample
    proxies._sample = lambda *args: seen.append(sample(proxies, *args)) or seen[-1]
    loss, _ = step_loss(network, parallel(network), 0)
    loss.backward()
    everything = network.eval().head.loss(*(part(x) for x in (draw(BATCH, D, seed=3), labels(20))))
    return {
        "classes": seen[0] + proxies.start,
        "proxies": proxies.weight.grad,
        "loss": loss.detach(),
        "everything": {name: value.detach() for name, value in everything.items()},
        "calls": len(seen),
    }


def trained(folder: Path) -> dict:
    """Take some steps, write a checkpoint, and take the next steps."""
    network = Network(HEADS[-1], torch.float64, sharded=True)
    wrapped = parallel(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for seed in range(STEPS):
        optimizer.zero_grad()
        step_loss(network, wrapped, seed)[0].backward()
        optimizer.step()
    checkpoint.save(folder / "last.dcp", wrapped, optimizer, {"iter": STEPS})
    return next_steps(network, wrapped, optimizer)


def resumed(folder: Path) -> dict:
    """Take the steps after the checkpoint with another number of processes."""
    network = Network(HEADS[-1], torch.float64, sharded=True)
    network.linear.weight.data.zero_()
    network.proxies.weight.data.zero_()
    wrapped = parallel(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    progress = checkpoint.load(folder / "last.dcp", wrapped, optimizer)
    assert progress == {"iter": STEPS}
    return next_steps(network, wrapped, optimizer)


def next_steps(network: Network, wrapped: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    losses = []
    for seed in range(STEPS, STEPS + 2):
        optimizer.zero_grad()
        loss, _ = step_loss(network, wrapped, seed)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), "network": network.linear.weight.detach()}


@DATASETS.register_module()
class Points(torch.utils.data.Dataset):
    """Random colours with random labels."""

    def __len__(self) -> int:
        return 2 * BATCH

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        inputs = torch.randint(256, (3, 2, 2), generator=generator, dtype=torch.uint8)
        return {"inputs": inputs, "label": index % C}


@MODELS.register_module()
class Flat(nn.Module):
    """A linear backbone for images."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(4 * in_channels, D, bias=False)
        self.linear.weight.data.copy_(draw(D, 4 * in_channels, seed=1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.flatten(1))


def run(folder: Path, work_dir: str = "", epochs: int = 4, resume: bool = False) -> dict:
    """Run mmengine's Runner with clipped gradients."""
    work_dir = work_dir or f"work-{WORLD}"
    torch.manual_seed(0)
    runner = Runner(
        model={
            "type": "FaceRecognizer",
            "data_preprocessor": {"type": "FacePreprocessor"},
            "backbone": {"type": "Flat"},
            "head": {
                "type": "ShardedHead",
                "head": {"type": "LH2FaceHead", "vmf_dim": 6, "num_classes": C, "in_channels": D},
                "sample_rate": 1.0,
            },
        },
        work_dir=str(folder / work_dir),
        launcher="pytorch" if WORLD else "none",
        train_dataloader={
            "dataset": {"type": "Points"},
            "batch_size": BATCH,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_sampler": {"type": "EvenBatchSampler"},
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"type": "EpochLoop", "max_epochs": epochs},
        optim_wrapper={
            "optimizer": {"type": "SGD", "lr": 0.5, "momentum": 0.9},
            "clip_grad": {"max_norm": 0.1},
        },
        param_scheduler=[{"type": "ExponentialLR", "gamma": 0.5, "end": 4}],
        default_hooks={
            "logger": None,
            "checkpoint": {"type": "ShardedCheckpointHook"},
        },
        randomness={"seed": 0},
        resume=resume,
        log_level="ERROR",
    )
    runner.train()
    model = getattr(runner.model, "module", runner.model)
    return {
        "network": model.backbone.linear.weight.detach(),
        "proxies": model.head.head.proxies.weight.detach(),
        "lr": runner.optim_wrapper.get_lr()["lr"],
    }


def run_half(folder: Path) -> dict:
    """Run the first half."""
    return run(folder, "half", epochs=2)


def run_on(folder: Path) -> dict:
    """Run the second half with another number of processes."""
    return run(folder, "half", resume=True)


def overflow(folder: Path) -> dict:
    """Take a step in float16 whose gradients are infinite in one process."""
    parameter = nn.Parameter(torch.ones(2))
    wrapper = AutocastOptimWrapper("float16", optimizer=torch.optim.SGD([parameter], lr=0.1))
    wrapper.update_params((parameter * (torch.inf if RANK else 1.0)).sum())
    return {"parameter": parameter.detach(), "scale": wrapper.loss_scaler.get_scale()}


def other_processes_state(folder: Path) -> dict:
    """Load the state of the first process into all."""
    proxies = ShardedProxies(C, D)
    state = [proxies.state_dict()]
    dist.broadcast_object_list(state)
    try:
        proxies.load_state_dict(state[0])
    except ValueError as error:
        return {"error": str(error)}
    return {}


def work(rank: int, world: int, port: int, scenarios: list[str], folder: Path) -> None:
    """Run the scenarios in one process."""
    global RANK, WORLD
    RANK, WORLD = rank, world
    torch.set_num_threads(1)
    if world:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": rank}
        place |= {"RANK": rank, "WORLD_SIZE": world}
        os.environ.update({name: str(value) for name, value in place.items()})
        dist.init_process_group("gloo")
    for name in scenarios:
        torch.save(globals()[name](folder), folder / f"{name}-{world}-{rank}.pt")
    if world:
        dist.destroy_process_group()


def main(folder: Path) -> None:
    for world, scenarios in PLAN:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = []
        for rank in range(world or 1):
            children.append(os.fork())
            if children[-1] == 0:
                try:
                    work(rank, world, port, scenarios, folder)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0, f"{world} processes: {scenarios}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
