"""Stub until the sources' branch is merged."""

from dataclasses import dataclass
from pathlib import Path

TRAINING_SOURCES: dict[str, type] = {}


def register(cls):
    TRAINING_SOURCES[cls.kind] = cls
    return cls


@dataclass(frozen=True)
class SyntheticSource:
    path: str
    people: int = 160
    images_per_person: int = 12
    image_size: int = 128
    seed: int = 0

    def write(self, out: Path, workers: int) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class ImageFolderSource:
    path: str
    aligned: bool = False

    def write(self, out: Path, workers: int) -> None:
        raise NotImplementedError


TRAINING_SOURCES = {"synthetic": SyntheticSource, "image_folder": ImageFolderSource}
