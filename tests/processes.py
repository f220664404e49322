"""Processes for tests that need several; they are forked after the package was imported.

Otherwise every test would spend most of its time on the imports of each process.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "mmengine.runner", "torch.utils.tensorboard", "lh2face.artifacts.model", "lh2face.cli",
        "lh2face.params", "lh2face.stages.train", "lh2face.training", "pytest",
    ]
)  # fmt: skip
SECONDS = 200


def places(world: int) -> list[dict[str, object]]:
    """Return the environment that torchrun would set for each process; the port is free."""
    shared = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in range(world)]


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def in_processes(
    folder: Path, environments: Sequence[Mapping[str, object]], call: Callable, *arguments: Any
) -> tuple[list[int | None], list[str]]:
    """Call a function of a module in one process for each environment, side by side.

    Args:
        folder: Folder for their output.
        environments: Additional environment variables of each process.
        call: The function.
        arguments: Its arguments, the same in each.

    Returns:
        The exit code of each process, and its output on both streams.
    """
    printed = [folder / f"printed-{number}.txt" for number in range(len(environments))]
    processes = [
        CONTEXT.Process(target=_enter, args=(path, environment, call, arguments))
        for path, environment in zip(printed, environments, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        process.kill()  # if it hangs
        process.join()
    return [process.exitcode for process in processes], [
        path.read_text("utf-8") for path in printed
    ]


def _enter(
    printed: Path, environment: Mapping[str, object], call: Callable, arguments: Sequence[Any]
) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    with printed.open("w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    torch.set_num_threads(1)
    call(*arguments)
