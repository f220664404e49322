"""Kill a training again and again: ``python kill_training.py ALIGNED OUT HEAD KILLS``.

An epoch has 15 steps and a checkpoint is written every 4 steps, so most kills happen inside an
epoch, and most runs resume there.

Each run is a fork of this process. It is killed after a random number of steps; every other run is
killed when it next writes a checkpoint. The script prints as JSON how many runs were killed while
they wrote a checkpoint, and how many resumed inside an epoch.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

# The path of a script has only its own folder, so the folders of the tests are added.
sys.path.insert(0, str(Path(__file__).parents[2]))

import test_train

from lh2face.training import LastCheckpointHook, ShardedCheckpointHook, TrainingRecordHook
from lh2face.training.checkpoints import CheckpointKeeper

EPOCHS, BATCH, STEPS, INTERVAL = 25, 2, 15, 4
KEEPER = {"lh2face": LastCheckpointHook, "sharded": ShardedCheckpointHook}


def written_at(path: Path) -> float:
    """Return when a file was last written; 0 if the running process renamed or deleted it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def writing(work: Path, since: float) -> bool:
    """Return whether an unfinished checkpoint was written after the time ``since``."""
    return any(written_at(path) > since for path in work.glob("last.*.new"))


def stopped_while_writing(child: int, work: Path, since: float) -> bool:
    """Stop a process that seems to write a checkpoint, and return whether it really does."""
    if not writing(work, since):
        return False
    os.kill(child, signal.SIGSTOP)
    time.sleep(0.001)
    if writing(work, since):
        return True
    os.kill(child, signal.SIGCONT)
    return False


def tell_steps() -> None:
    """Make a run print the step at which it begins, and each step that it takes."""
    before_train, after_step = CheckpointKeeper.before_train, TrainingRecordHook.after_train_iter

    def begin(self, runner):
        self.interval = INTERVAL
        before_train(self, runner)
        print("from", runner.iter, flush=True)

    def end(self, runner, *args, **kwargs):
        after_step(self, runner, *args, **kwargs)
        print("done", runner.iter + 1, flush=True)

    CheckpointKeeper.before_train, TrainingRecordHook.after_train_iter = begin, end


def main() -> None:
    aligned, out, head, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    keeper, work = KEEPER[head], out.with_name(f"{out.name}.work")
    moments, killed_writing, inside, reached = random.Random(0), 0, 0, 0
    for life in range(kills + 1):
        log = out.with_name(f"{life}.log")
        log.touch()
        born = time.time()
        child = os.fork()
        if child == 0:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 1)
            tell_steps()
            test_train.run(aligned, out, head=head, epochs=EPOCHS, batch_size=BATCH)
            os._exit(0)
        if life < kills:
            if life % 4:
                after = moments.randint(1, 12)
                while log.read_text().count("done") < after:
                    time.sleep(0.001)
            else:  # it may be killed while it starts
                time.sleep(moments.uniform(0, 3))
            since = time.time()
            if life % 2:
                while not stopped_while_writing(child, work, since):
                    time.sleep(0.0002)
            os.kill(child, signal.SIGKILL)
            killed_writing += writing(work, born)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == (-signal.SIGKILL if life < kills else 0), f"life {life} ended with {code}"
        checkpoint = work / keeper.file_name
        assert not checkpoint.exists() or keeper.is_whole(checkpoint), f"life {life}: broken"
        lines = log.read_text().splitlines()
        told = [line.split() for line in lines if line.startswith(("from ", "done "))]
        if told:
            kept = int(told[0][1])
            lost = reached - kept
            assert 0 <= lost <= INTERVAL, f"life {life}: goes on after {kept} of {reached}"
            inside += kept % STEPS > 0
            reached = int(told[-1][1])
    print(json.dumps({"killed_writing": killed_writing, "inside": inside, "steps": reached}))


if __name__ == "__main__":
    main()
