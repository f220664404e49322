"""The one decoder of encoded pictures."""

import cv2
import numpy as np


class ImageError(ValueError):
    """A picture that cannot be decoded; the message names where it comes from."""


def decode_rgb(encoded: bytes, size: int | None, source: str) -> np.ndarray:
    """An encoded image as RGB ``(size, size, 3)`` uint8.

    Args:
        encoded: JPEG, PNG or whatever else OpenCV reads.
        size: Side of the result, px; ``None`` keeps the image's own ``(H, W, 3)``.
        source: Where the image comes from, for the message.

    Raises:
        ImageError: If it cannot be decoded.
    """
    pixels = np.frombuffer(encoded, np.uint8)
    image = cv2.imdecode(pixels, cv2.IMREAD_COLOR) if pixels.size else None
    if image is None:
        raise ImageError(f"{source}: not an image OpenCV can decode")
    if size is not None and image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
