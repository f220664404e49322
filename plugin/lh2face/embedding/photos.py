"""Photos to embed, which are aligned when they are read."""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lh2face.data.align import aligned_face
from lh2face.data.benchmarks.raw import RawBenchmark
from lh2face.data.images import ImageError, decode_rgb
from lh2face.data.main_face import find_face
from lh2face.detection import Detector
from lh2face.embedding.kept import sha256


class Photos:
    """The photos of a benchmark before alignment.

    Args:
        benchmark: A benchmark with landmarks.
        name: Name of the photos, for messages.
        pool: Threads that read and align.
        check: Whether to refuse landmarks that are not plausible for a face.
        detect: Detector that finds the faces; ``None`` to use the benchmark's landmarks. These are
            also used for photos in which the detector finds no face.

    Attributes:
        found_by: Name or digest of the detector, which the caller sets; it is part of the digests.

    Raises:
        ValueError: If the benchmark has no landmarks.
    """

    def __init__(
        self, benchmark: RawBenchmark, name: str, pool: ThreadPoolExecutor, check: bool = True,
        detect: Detector | None = None,
    ) -> None:  # fmt: skip
        self.benchmark, self.name, self.pool, self.check = benchmark, name, pool, check
        if benchmark.landmarks is None:
            raise ValueError(f"{name}: expected landmarks, found none")
        self.landmarks = benchmark.landmarks
        self.detect, self.found_by = detect, ""

    def digest(self, rows: range) -> str:
        """Compute the digest of the names, landmarks and files of some photos."""
        return self._digest(rows, self.pool.map(self._file_digest, rows))

    def read(self, rows: range) -> tuple[str, np.ndarray, int]:
        """Read some photos, and align their faces.

        Returns:
            The digest as from :meth:`digest`, the faces ``(n, 112, 112, 3)`` uint8 RGB, and the
            number of photos in which the detector found no face.

        Raises:
            ImageError: If a photo cannot be decoded, or its landmarks cannot be used.
        """
        digests, faces, missed = zip(*self.pool.map(self._face, rows), strict=True)
        return self._digest(rows, digests), np.stack(faces), sum(missed)

    def where(self, row: int) -> str:
        """Return the path of a photo, for messages."""
        return self.benchmark.sources[row]

    def _digest(self, rows: range, files: Iterable[bytes]) -> str:
        part = slice(rows.start, rows.stop)
        names = list(self.benchmark.images["name"][part])
        listed = [names, self.landmarks[part].tolist()]
        listed += [self.found_by] if self.found_by else []
        return sha256(json.dumps(listed).encode(), *files)

    def _file_digest(self, row: int) -> bytes:
        return hashlib.sha256(self.benchmark.read(row)).digest()

    def _face(self, row: int) -> tuple[bytes, np.ndarray, bool]:
        encoded = self.benchmark.read(row)
        points, source, missed = self.landmarks[row], self.where(row), False
        if self.detect is not None:
            image = decode_rgb(encoded, None, source)
            try:
                points = find_face(self.detect, image, source).face.landmarks
            except ImageError:
                missed = True
        face = aligned_face(encoded, points, source, check=self.check)
        return hashlib.sha256(encoded).digest(), face, missed
