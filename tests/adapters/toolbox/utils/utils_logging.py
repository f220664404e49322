"""Logging to a file."""

import logging
from pathlib import Path


def init_logging(rank, models_root):
    if rank == 0:
        log_root = logging.getLogger()
        log_root.setLevel(logging.INFO)
        handler = logging.FileHandler(Path(models_root) / "training.log")
        handler.setFormatter(logging.Formatter("Training: %(asctime)s-%(message)s"))
        log_root.addHandler(handler)
