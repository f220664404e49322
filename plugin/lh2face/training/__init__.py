"""What mmengine's Runner uses to train: batches, seeds, checkpoints, the record of a run."""

from lh2face import mmengine_compat
from lh2face.training.batches import EvenSampler
from lh2face.training.checkpoints import LastCheckpointHook
from lh2face.training.record import TrainingRecordHook
from lh2face.training.seeding import SeedHook

mmengine_compat.apply()

__all__ = ["EvenSampler", "LastCheckpointHook", "SeedHook", "TrainingRecordHook"]
