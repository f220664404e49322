"""One run of mmengine's Runner, from its config to an output folder; all trainings use it.

A run keeps checkpoints, TensorBoard's files and its record in ``<out>.work``. An interrupted run
resumes from its newest complete checkpoint; in one process on a CPU, its result equals that of an
uninterrupted run, bit for bit. If anything that determines the result has changed, the run begins
again and says what changed. Under ``torchrun`` or ``srun`` the batch is divided over the processes,
on one machine or several.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lh2face.distributed.checkpoint_files import remove
from lh2face.distributed.finite import NonFiniteError, non_finite_message
from lh2face.distributed.main_process import end_all, in_main_process
from lh2face.files.outputs import atomic_dir, check_output, exclusive
from lh2face.runs.work_folder import checkpoints, prepare_work_dir
from lh2face.text import check_utf8
from lh2face.training.best_model import BEST
from lh2face.training.memory import reuse_freed_memory

if TYPE_CHECKING:
    from mmengine.config import Config


def train_into(
    out: Path,
    inputs: Sequence[Path | None],
    name: str,
    prepare: Callable[[], tuple["Config", dict[str, Any]]],
    write: Callable[[Path, Any, "Config", dict[str, Any]], None],
    begin: Callable[[Any], None] = lambda model: None,
) -> None:
    """Train, and write a folder with the result and ``training.csv``.

    Args:
        out: Folder to write.
        inputs: Files and folders that the run reads; ``out`` must not be among them.
        name: Name of the run.
        prepare: Function that returns the config, and the fingerprint of the run as from
            :func:`lh2face.runs.fingerprint.run_fingerprint`. Called in the main process only.
        write: Function that writes the result. Its arguments are the folder, which already has
            ``training.csv``, the model, the config and the fingerprint. Called in the main process
            only.
        begin: Function that is called with the model before the first step, for example to load
            weights into it.

    Raises:
        ValueError: If ``prepare`` raises it, the work folder has files that no training wrote, or
            another process trains into it.
        NonFiniteError: If the loss, a gradient or a weight becomes NaN or infinite. The last
            checkpoint is kept, and ``out`` is not written.
        SystemExit: With status 143 after SIGTERM, when the checkpoint is written; ``out`` is not.
    """
    from mmengine.dist import barrier, get_world_size, init_dist, is_main_process
    from mmengine.runner import Runner

    check_utf8(out)
    check_output(out, inputs)
    launcher = launcher_of(os.environ)
    if launcher != "none":
        init_dist(launcher)
    reuse_freed_memory()
    work_dir = out.with_name(f"{out.name}.work")
    with ExitStack() as held:

        def prepared() -> tuple["Config", dict[str, Any]]:
            config, fingerprint = prepare()
            held.enter_context(exclusive(work_dir))
            prepare_work_dir(work_dir, fingerprint, get_world_size())
            return config, fingerprint

        config, fingerprint = in_main_process(prepared)
        config.launcher = launcher
        config.resume = True
        # mmengine would share logger, message hub and visualizer between runs of equal names.
        config.experiment_name = f"{name}-{time.time_ns()}"
        config.work_dir = str(work_dir)
        runner = Runner.from_cfg(config)
        # Unwrap the model from data parallelism.
        model = getattr(runner.model, "module", runner.model)
        begin(model)
        try:
            runner.train()
        except NonFiniteError as error:
            end_all(error)
        except ValueError as error:  # from a head or a record, perhaps in this process only
            raise ValueError(non_finite_message(runner, runner.iter + 1, str(error))) from error
        if is_main_process():
            with atomic_dir(out, inputs) as folder:
                for record in work_dir.glob("*.csv"):
                    shutil.copyfile(record, folder / record.name)
                write(folder, model, config, fingerprint)
            for path in (*checkpoints(work_dir), work_dir / BEST):
                remove(path)
        barrier()


def launcher_of(environment: Mapping[str, str]) -> str:
    """Return mmengine's name for the launcher: "pytorch" (torchrun), "slurm" (srun) or "none"."""
    if "WORLD_SIZE" in environment:
        return "pytorch"
    # The shell of a batch script has Slurm's variables too, but it is a single task.
    several = int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1
    return "slurm" if several and "SLURM_PROCID" in environment else "none"
