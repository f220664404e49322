"""Recognizers: a backbone, a head and, if wanted, a reconstructor, as one mmengine model."""

from lh2face import mmengine_compat
from lh2face.recognizers.face_recognizer import FaceRecognizer
from lh2face.recognizers.hooks import LastCheckpointHook, SeedHook, TrainingRecordHook
from lh2face.recognizers.preprocessor import FacePreprocessor
from lh2face.recognizers.sampler import EvenSampler

mmengine_compat.apply()

__all__ = [
    "EvenSampler",
    "FacePreprocessor",
    "FaceRecognizer",
    "LastCheckpointHook",
    "SeedHook",
    "TrainingRecordHook",
]
