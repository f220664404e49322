"""The user's own photos, ``path/<identity>/*``, as a source."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lh2face.data.detectors import AnyDetector
from lh2face.data.image_folder import held_out, read_photos, write_train
from lh2face.data.parameters import HeldOut
from lh2face.data.training_sources.source import describe


@dataclass(frozen=True)
class ImageFolder:
    """The user's own photos, ``path/<identity>/*``.

    One of ``aligned``, ``landmarks`` and ``detector`` must be given.

    Attributes:
        path: Folder with one folder per person.
        aligned: Whether the faces are upright and centred and fill the image.
        landmarks: CSV file without header, given relative to ``path`` and inside it. A line has the
            path of a photo relative to ``path``, then x, y of left eye, right eye, nose, left and
            right mouth corner in px.
        held_out: The people who are reserved for a benchmark.
        detector: Detector that finds the faces. In a photo with several faces, the most central of
            the large ones is used.
    """

    path: str
    aligned: bool = False
    landmarks: str | None = None
    held_out: HeldOut | None = None
    detector: AnyDetector | None = None

    def write(self, out: Path, workers: int) -> None:
        """Implement :meth:`TrainingSource.write`; the photos are copied unchanged to records."""
        with read_photos(self, out, workers) as found:
            members = np.arange(len(found.people))
            if left := self.held_out:
                rng = np.random.default_rng(left.seed)
                members = np.setdiff1d(members, held_out(found, left.fraction, left.fold, rng))
            aligned = write_train(found, members, out, crops=self.aligned)
            images = sum(len(found.people[person]) for person in members)
        describe(
            out, "photos", self.path, images, len(members), len(found.left_out), str(found),
            aligned=aligned,
        )  # fmt: skip
