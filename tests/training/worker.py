"""One of several processes of a run: ``worker.py CONFIG FOLDER`` writes its results."""

import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.runner import Runner

import lh2face.register  # noqa: F401

if __name__ == "__main__":
    config, folder = Config.fromfile(sys.argv[1]), Path(sys.argv[2])
    config.launcher = "pytorch"
    runner = Runner.from_cfg(config)
    states = []
    validate = runner.val_loop.run
    runner.val_loop.run = lambda: (
        states.append({n: v.clone() for n, v in runner.model.module.state_dict().items()}),
        validate(),
    )
    runner.train()
    torch.save(states, folder / f"{get_rank()}.pth")
