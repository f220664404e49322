import multiprocessing
import os
import signal
import threading
import time

import pytest

from lh2face.data.synthetic import SyntheticConfig
from lh2face.data.synthetic.generate import generate


def test_a_killed_worker_ends_the_stage(tmp_path):
    """By one line, not by waiting for ever for the people it was to make."""
    config = SyntheticConfig(train_people=4000, benchmark_people=4, image_size=32)

    def kill():
        while not (workers := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(OSError, match="worker that makes faces was killed"):
        generate(config, tmp_path, seed=0, workers=2)
    killer.join()


def test_a_failure_to_write_waits_for_nobody(tmp_path):
    """Thousands of people would take minutes."""
    config = SyntheticConfig(train_people=4000, benchmark_people=4, image_size=32)
    (tmp_path / "train").touch()
    with pytest.raises(FileExistsError):
        generate(config, tmp_path, seed=0, workers=1)
