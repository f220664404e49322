"""Three iterations of mmpretrain's own training; prints the losses as JSON.

    python train.py FACES WORK_DIR

Runs in the environment of ``requirements.txt``. torchvision comes there in a build for another
torch: it imports once the operators it asks for are declared, which nothing here calls.
"""

import json
import re
import sys
from pathlib import Path

import torch

library = torch.library.Library("torchvision", "DEF")
while True:
    try:
        import torchvision  # noqa: F401

        break
    except RuntimeError as error:
        missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
        if not missing:
            raise
        library.define(f"{missing[1]}(Tensor a) -> Tensor")
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]

from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.runner import Runner  # noqa: E402


class Losses(Hook):
    """Keeps what each iteration returned."""

    def __init__(self) -> None:
        self.all: list[dict[str, float]] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.all.append({name: float(value) for name, value in outputs.items()})


def main(config_path: Path, faces: Path, work_dir: Path) -> None:
    config = Config.fromfile(config_path)
    config.work_dir = str(work_dir)
    config.train_dataloader.update(batch_size=4, num_workers=0)
    config.train_dataloader.dataset.data_root = str(faces)
    config.model.head.num_classes = len(list(faces.iterdir()))
    config.train_cfg = {"by_epoch": False, "max_iters": 3}
    config.param_scheduler = None
    runner, losses = Runner.from_cfg(config), Losses()
    runner.register_hook(losses)
    runner.train()
    head = type(runner.model.head)
    print(json.dumps({"head": f"{head.__module__}.{head.__name__}", "losses": losses.all}))


if __name__ == "__main__":
    from lh2face.configs import MMPRETRAIN

    main(MMPRETRAIN, Path(sys.argv[1]), Path(sys.argv[2]))
