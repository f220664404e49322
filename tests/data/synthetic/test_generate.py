import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lh2face.data.synthetic import SyntheticConfig
from lh2face.data.synthetic.generate import write_benchmark, write_train
from lh2face.data.synthetic.people import photographed


def test_a_killed_worker_ends_the_stage(tmp_path):
    """It ends with one line instead of waiting forever for the people of the killed worker."""
    config = SyntheticConfig(train_people=4000, benchmark_people=4, image_size=32)

    def kill():
        while not (workers := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(OSError, match="worker that makes faces was killed"):
        write_train(config, tmp_path, seed=0, workers=2)
    killer.join()


def test_an_interruption_does_not_wait_for_the_people_that_are_being_made():
    with pytest.raises(KeyboardInterrupt), photographed("train", 8, 2000, 64, 0, workers=2):
        while len(multiprocessing.active_children()) < 2:
            time.sleep(0.01)
        time.sleep(3)  # the workers begin with people that take them half a minute each
        since = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - since < 10
    assert not multiprocessing.active_children()


CODE = """
import multiprocessing, sys, threading, time
from pathlib import Path
from lh2face.data.synthetic import SyntheticConfig
from lh2face.data.synthetic.generate import write_train

def show():
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.01)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    threading.Thread(target=show, daemon=True).start()
    config = SyntheticConfig(train_people=4000, benchmark_people=4, image_size=32)
    write_train(config, Path(sys.argv[1]), seed=0, workers=2)
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux's /proc")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(CODE)
    command = [sys.executable, script, tmp_path / "out"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        workers = started.stdout.readline().split()
        started.kill()
    end = time.monotonic() + 60
    while any(Path("/proc", worker).exists() for worker in workers):
        assert time.monotonic() < end, workers
        time.sleep(0.1)


def test_a_failed_write_ends_the_stage_at_once(tmp_path):
    """The stage ends at once: rendering its thousands of people would take minutes."""
    config = SyntheticConfig(train_people=4000, benchmark_people=4, image_size=32)
    (tmp_path / "train").touch()
    with pytest.raises(FileExistsError):
        write_train(config, tmp_path / "train", seed=0, workers=1)


def test_depths_of_a_benchmark_are_optional(tmp_path):
    config = SyntheticConfig(benchmark_people=4, image_size=32, pairs=2, truth_images=0)
    write_benchmark(config, tmp_path, seed=0, workers=1)
    assert (tmp_path / "images.csv").exists() and not (tmp_path / "truth.npz").exists()
