"""Aligned faces to embed."""

import numpy as np

from lh2face.data.benchmark import Benchmark
from lh2face.data.images import decode_rgb
from lh2face.embedding.kept import sha256


class AlignedFaces:
    """The aligned faces of a benchmark, as stage ``align_benchmark`` writes it."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.faces = benchmark.faces
        self.name = str(self.faces.path)

    def digest(self, rows: range) -> str:
        """Compute the digest of some encoded faces."""
        return sha256(*(self.faces[row + 1][1] for row in rows))

    def read(self, rows: range) -> tuple[str, np.ndarray, int]:
        """Read some faces.

        Returns:
            The digest as from :meth:`digest`, the pixels ``(n, 112, 112, 3)`` uint8 RGB, and 0: the
            number of photos in which a detector found no face.

        Raises:
            ImageError: If a face cannot be decoded.
        """
        encoded = [self.faces[row + 1][1] for row in rows]
        pixels = [
            decode_rgb(face, None, self.where(row)) for face, row in zip(encoded, rows, strict=True)
        ]
        return sha256(*encoded), np.stack(pixels), 0

    def where(self, row: int) -> str:
        """Return the file and the row of a face, for messages."""
        return f"{self.name}: image {row}"
