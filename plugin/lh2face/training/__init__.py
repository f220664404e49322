"""Parts of a training run for mmengine's Runner: loop, batches, seeds, checkpoints, records."""

from lh2face.training.batches import EvenBatchSampler
from lh2face.training.best_model import BestModelHook
from lh2face.training.checkpoints import LastCheckpointHook
from lh2face.training.freezing import FreezeHook
from lh2face.training.loop import EpochLoop
from lh2face.training.precision import AutocastOptimWrapper
from lh2face.training.record import TrainingRecordHook, ValidationRecordHook
from lh2face.training.seeding import SeedHook
from lh2face.training.sharded_checkpoints import ShardedCheckpointHook
from lh2face.training.validation import PairFaces, VerificationAccuracy
from lh2face.training.weights import FaceWeights

__all__ = [
    "AutocastOptimWrapper",
    "BestModelHook",
    "EpochLoop",
    "EvenBatchSampler",
    "FaceWeights",
    "FreezeHook",
    "LastCheckpointHook",
    "PairFaces",
    "SeedHook",
    "ShardedCheckpointHook",
    "TrainingRecordHook",
    "ValidationRecordHook",
    "VerificationAccuracy",
]
