"""Sources of training faces: the types of ``sources`` in ``params.yaml``, by name.

A source fills an empty folder with a manifest and, unless its records are used in place, with
records.
"""

from lh2face.data.training_sources.converted import MagfaceList, Parquet, WebDataset
from lh2face.data.training_sources.image_folder import ImageFolder
from lh2face.data.training_sources.records import Records
from lh2face.data.training_sources.source import TrainingSource
from lh2face.data.training_sources.synthetic import Synthetic

TRAINING_SOURCES: dict[str, type[TrainingSource]] = {
    "synthetic": Synthetic,
    "image_folder": ImageFolder,
    "records": Records,
    "magface_list": MagfaceList,
    "parquet": Parquet,
    "webdataset": WebDataset,
}

__all__ = [
    "TRAINING_SOURCES", "ImageFolder", "MagfaceList", "Parquet", "Records", "Synthetic",
    "TrainingSource", "WebDataset",
]  # fmt: skip
