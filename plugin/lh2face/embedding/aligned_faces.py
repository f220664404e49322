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
        """Digest of some encoded faces."""
        return sha256(*(self.faces[row + 1][1] for row in rows))

    def read(self, rows: range) -> tuple[str, np.ndarray, int]:
        """Read some faces; no detector is used.

        Returns:
            As :meth:`lh2face.embedding.kept.Faces.read`.

        Raises:
            ImageError: If a face cannot be decoded.
        """
        encoded = [self.faces[row + 1][1] for row in rows]
        pixels = [
            decode_rgb(face, None, self.where(row)) for face, row in zip(encoded, rows, strict=True)
        ]
        return sha256(*encoded), np.stack(pixels), 0

    def where(self, row: int) -> str:
        """File and row of a face, for messages."""
        return f"{self.name}: image {row}"
