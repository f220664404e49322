"""Measure what mmengine's record of scalars costs per step after a thousand to a million steps.

    python benchmarks/history.py [--steps 200]

mmengine keeps every value of every scalar, copies all of them at each step, and stores them in each
checkpoint. ``TrainingRecordHook`` keeps only the last values. Timed is everything that mmengine and
the hook do with scalars in a step, after a record of many earlier steps, which is made up. "Without
the hook" means that the hook runs, but its ``forget_history`` does nothing. The size is that of the
record in a checkpoint.
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
    """Measure the milliseconds per step, and the bytes of the record afterwards."""
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
    """Print time and size, and the ratio of the time to that after the fewest steps."""
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
                    f"{name:>7} the hook, after {recorded:>9,} steps: {milliseconds:6.2f} ms per "
                    f"step, {milliseconds / first:6.2f} times as long as after {RECORDED[0]:,}; "
                    f"{size / 2**20:6.1f} MiB in a checkpoint",
                    flush=True,
                )


if __name__ == "__main__":
    main()
