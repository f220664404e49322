"""Decoding images."""

import numpy as np

from lh2face.data.images import decode_rgb


class Image:
    """Decoded pixels."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def asnumpy(self) -> np.ndarray:
        """The pixels: RGB ``(H, W, 3)`` uint8."""
        return self.pixels


def imdecode(encoded: bytes) -> Image:
    """Decode an image of any size."""
    return Image(decode_rgb(encoded, None, "record"))
