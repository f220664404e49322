"""Measure what mmengine's record of a run costs per step after 1 thousand to 1 million steps.

    python benchmarks/history.py [--steps 200]

mmengine keeps every value of every scalar, copies all of them at each step, and puts them into
each checkpoint. ``TrainingRecordHook`` keeps the last ones. Timed is everything that mmengine and
the hook do about scalars at a step of a run that goes on after so many steps; the run before is
made up. Without: the same without the hook's ``forget_history``. Bytes are those of the history in
a checkpoint.
"""

import argparse
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
from mmengine.hooks import IterTimerHook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper

from lh2face.training import record as recording

RECORDED = (1_000, 100_000, 1_000_000)
SCALARS = ("loss", "loss_vmf", "loss_pps", "loss_pns", "loss_pp", "mean_kappa", "margin")
MMENGINE = ("lr", "time", "data_time")


def step_cost(recorded: int, steps: int, work_dir: str) -> tuple[float, int]:
    """Measure milliseconds per step, and the bytes of the history afterwards."""
    hub = MessageHub.get_instance(f"{recorded}-{time.time_ns()}")
    for name in (*SCALARS, *MMENGINE):
        hub.log_scalars[f"train/{name}"] = HistoryBuffer(np.ones(recorded), np.ones(recorded))
    parameter = torch.nn.Parameter(torch.zeros(1))
    runner = SimpleNamespace(
        work_dir=work_dir,
        iter=recorded,
        epoch=0,
        max_epochs=1,
        max_iters=10 * recorded,
        message_hub=hub,
        train_dataloader=range(10 * recorded),
        optim_wrapper=OptimWrapper(torch.optim.SGD([parameter], lr=0.1)),
        visualizer=SimpleNamespace(add_scalars=lambda *_, **__: None, close=lambda: None),
    )
    timer, info, record = (
        IterTimerHook(),
        RuntimeInfoHook(),
        recording.TrainingRecordHook(interval=10),
    )
    timer.before_train(runner)
    timer.before_train_epoch(runner)
    record.before_train(runner)
    outputs = {name: torch.tensor(1.0) for name in SCALARS}
    batch = {"inputs": torch.zeros(64, 1)}
    start = time.perf_counter()
    for index in range(steps):
        info.before_train_iter(runner, index)
        timer.before_train_iter(runner, index)
        info.after_train_iter(runner, index, batch, outputs)
        timer.after_train_iter(runner, index, batch, outputs)
        record.after_train_iter(runner, index, batch, outputs)
        runner.iter += 1
    seconds = time.perf_counter() - start
    history = sum(part.nbytes for buffer in hub.log_scalars.values() for part in buffer.data)
    return 1000 * seconds / steps, history


def main() -> None:
    """Print both, and their ratio to a run that has just begun."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("without", "with"):
            first = None
            for recorded in RECORDED:
                Path(folder, "training.csv").unlink(missing_ok=True)
                keep = patch.object(recording, "forget_history", lambda hub: None)
                if name == "with":
                    milliseconds, size = step_cost(recorded, arguments.steps, folder)
                else:
                    with keep:
                        milliseconds, size = step_cost(recorded, arguments.steps // 4, folder)
                first = first or milliseconds
                print(
                    f"{name:>7} the hook, {recorded:>9,} steps recorded: {milliseconds:6.2f} ms a "
                    f"step, {milliseconds / first:6.2f} times as long as after {RECORDED[0]:,}; "
                    f"{size / 2**20:6.1f} MiB in a checkpoint",
                    flush=True,
                )


if __name__ == "__main__":
    main()
