"""Stand-in for the callbacks of the training script."""

import logging
from pathlib import Path

from eval import verification
from torch import distributed


class CallBackVerification:
    def __init__(self, val_targets, rec_prefix, image_size=(112, 112)):
        self.rank = distributed.get_rank()
        self.ver_list = []
        if self.rank == 0:
            for name in val_targets:
                path = Path(rec_prefix) / f"{name}.bin"
                if path.exists():
                    self.ver_list.append((name, verification.load_bin(str(path), image_size)))

    def __call__(self, num_update, backbone):
        if self.rank == 0 and num_update > 0:
            backbone.eval()
            for name, data_set in self.ver_list:
                _, _, acc2, _, xnorm, _ = verification.test(data_set, backbone, 10, 10)
                logging.info("[%s][%d]XNorm: %f", name, num_update, xnorm)
                logging.info("[%s][%d]Accuracy-Flip: %1.5f", name, num_update, acc2)
            backbone.train()
