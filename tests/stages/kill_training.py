"""Train with many a sudden death: ``python kill_training.py ALIGNED OUT HEAD KILLS``.

Each life is a fork of this process, killed at a random moment, every other one as soon as it begins
to write a checkpoint. Prints as JSON how many were killed while they wrote one.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import test_train
import torch

from lh2face.training import LastCheckpointHook, ShardedCheckpointHook, TrainingRecordHook

EPOCHS = 100
KEEPER = {"lh2face": LastCheckpointHook, "sharded": ShardedCheckpointHook}


def written_at(path: Path) -> float:
    """When a file was last written; 0 if the running process has renamed or deleted it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def writing(work: Path, since: float) -> bool:
    """Whether a checkpoint was half written after a moment."""
    return any(written_at(path) > since for path in work.glob("last.*.new"))


def stopped_while_writing(child: int, work: Path, since: float) -> bool:
    """Hold a process that seems to write a checkpoint; whether it really does."""
    if not writing(work, since):
        return False
    os.kill(child, signal.SIGSTOP)
    time.sleep(0.001)
    if writing(work, since):
        return True
    os.kill(child, signal.SIGCONT)
    return False


def tell_epochs() -> None:
    """Have a run print after how many epochs it begins, and each that ends."""
    before_train, write = TrainingRecordHook.before_train, TrainingRecordHook.write

    def begin(self, runner):
        before_train(self, runner)
        print("from", runner.epoch, flush=True)

    def end(self, runner):
        write(self, runner)
        print("done", runner.epoch + 1, flush=True)

    TrainingRecordHook.before_train, TrainingRecordHook.write = begin, end


def main() -> None:
    aligned, out, head, kills = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    keeper, work = KEEPER[head], out.with_name(f"{out.name}.work")
    moments, killed_writing, reached = random.Random(0), 0, 0
    for life in range(kills + 1):
        log = out.with_name(f"{life}.log")
        log.touch()
        born = time.time()
        child = os.fork()
        if child == 0:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 1)
            tell_epochs()
            test_train.run(aligned, out, head=head, epochs=EPOCHS)
            os._exit(0)
        if life < kills:
            while life % 4 and not log.stat().st_size:  # every fourth may die while it starts
                time.sleep(0.001)
            if life % 2:
                while not stopped_while_writing(child, work, born):
                    time.sleep(0.0002)
            else:
                time.sleep(moments.uniform(0, 0.5 if life % 4 else 3))
            os.kill(child, signal.SIGKILL)
            killed_writing += writing(work, born)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == (-signal.SIGKILL if life < kills else 0), f"life {life} ended with {code}"
        checkpoint = work / keeper.file_name
        assert not checkpoint.exists() or keeper.is_whole(checkpoint), f"life {life}: broken"
        lines = log.read_text().splitlines()
        told = [line.split() for line in lines if line.startswith(("from ", "done "))]
        if told:
            # An epoch is told as it ends, just before it is kept.
            kept = int(told[0][1])
            assert reached - 1 <= kept <= reached, f"life {life}: goes on after {kept} of {reached}"
            reached = int(told[-1][1])
    print(json.dumps({"killed_writing": killed_writing, "epochs": reached}))


if __name__ == "__main__":
    main()
