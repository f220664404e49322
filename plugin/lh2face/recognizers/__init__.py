"""Recognizers: a backbone, a head and optionally a reconstructor, as one mmengine model."""

from lh2face.recognizers.face_recognizer import FaceRecognizer
from lh2face.recognizers.preprocessor import FacePreprocessor

__all__ = ["FacePreprocessor", "FaceRecognizer"]
