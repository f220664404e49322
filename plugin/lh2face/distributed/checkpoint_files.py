"""Checkpoints on disk: the last one and the previous one, each a file or a folder."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process


def before(path: Path) -> Path:
    """Return the path of the previous checkpoint; ``path`` is that of the last one."""
    return path.with_stem("before")


def unfinished(path: Path) -> Path:
    """Return the path of a checkpoint that is not complete yet; ``path`` is its final path."""
    return path.with_name(f"{path.name}.new")


def names(path: Path) -> tuple[Path, Path, Path]:
    """Return the paths of the last, the previous and the incomplete checkpoint."""
    return path, before(path), unfinished(path)


def change_over(path: Path) -> None:
    """Rename the new checkpoint to ``path``, and the last one to ``before(path)``.

    After the first call, a kill or a power cut at any moment leaves at least one intact checkpoint
    at ``path`` or ``before(path)``.
    """
    sync(unfinished(path))
    if path.exists():
        remove(before(path))
        path.rename(before(path))
    unfinished(path).rename(path)
    sync(path.parent)


def newest(path: Path, is_whole: Callable[[Path], bool]) -> Path | None:
    """Find the newest intact checkpoint, or ``None``; every process must call this.

    The main process searches. It reports and removes each damaged checkpoint that it finds.
    """
    found: list[Path | None] = [None]
    if is_main_process():
        present = [candidate for candidate in (path, before(path)) if candidate.exists()]
        while present and not is_whole(present[0]):
            damaged, *present = present
            then = f"goes on from {present[0].name}" if present else "begins again"
            print(f"{damaged}: damaged or cut short; training {then}", flush=True)
            remove(damaged)
        found = [present[0] if present else None]
    broadcast_object_list(found)
    return found[0]


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a state dict, by name."""
    return {name: tuple(value.shape) for name, value in state.items() if torch.is_tensor(value)}


def check_same_shapes(
    path: Path, model: Mapping[str, tuple[int, ...]], kept: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise ``ValueError`` unless a checkpoint has the same tensors and shapes as a model."""
    for name in {**model, **kept}:
        expected, found = (side.get(name, "no such tensor") for side in (model, kept))
        if expected != found:
            raise ValueError(
                f"{path}: the checkpoint belongs to another model; {name}: expected {expected}, "
                f"found {found}"
            )


def sync(path: Path) -> None:
    """Flush a file, or a folder and the files in it, to disk."""
    if path.is_dir():
        for inside in path.iterdir():
            if inside.is_file():
                sync(inside)
        if os.name == "nt":  # Windows cannot open a folder
            return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
