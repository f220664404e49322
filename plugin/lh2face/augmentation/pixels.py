"""What the transforms do to pixels: pure functions of RGB images ``(H, W, 3)`` uint8.

No function writes into the image it is given, and each returns a new one of the same shape.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from lh2face.data.images import decode_rgb, encode_jpeg

Image = NDArray[np.uint8]
# OpenCV's ways to resize an image.
INTERPOLATIONS = (
    cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4,
)  # fmt: skip
LEVELS = np.arange(256, dtype=np.float32)


def mirror(image: Image) -> Image:
    """The left-right mirror image."""
    return cv2.flip(image, 1)


def keep_rectangle(image: Image, top: int, left: int, height: int, width: int) -> Image:
    """The image inside a rectangle, black outside of it."""
    kept = np.zeros_like(image)
    part = np.s_[top : top + height, left : left + width]
    kept[part] = image[part]
    return kept


def cover_rectangle(image: Image, top: int, left: int, cover: Image) -> Image:
    """The image with ``cover`` ``(h, w, 3)`` laid over it."""
    covered = image.copy()
    height, width = cover.shape[:2]
    covered[top : top + height, left : left + width] = cover
    return covered


def low_resolution(image: Image, scale: float, down: int, up: int) -> Image:
    """The image shrunk and enlarged again.

    Args:
        image: ``(H, W, 3)``.
        scale: Factor on both sides, in (0, 1]; no side becomes shorter than 1 px.
        down: OpenCV's interpolation for shrinking.
        up: The same for enlarging.
    """
    height, width = image.shape[:2]
    small = (max(1, int(scale * width)), max(1, int(scale * height)))
    return cv2.resize(
        cv2.resize(image, small, interpolation=down), (width, height), interpolation=up
    )


def brightness(image: Image, factor: float) -> Image:
    """Every value times ``factor``: 0 gives black, 1 the image."""
    return _mapped(image, factor * LEVELS)


def contrast(image: Image, factor: float) -> Image:
    """Every value's distance to the mean grey times ``factor``: 0 gives grey, 1 the image."""
    # Rounded as Pillow does.
    mean = int(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean() + 0.5)
    return _mapped(image, mean + factor * (LEVELS - mean))


def saturation(image: Image, factor: float) -> Image:
    """Every pixel's distance to its own grey times ``factor``: 0 gives a grey image, 1 the image.

    Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
    """
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def jpeg(image: Image, quality: int) -> Image:
    """The image written as JPEG with a quality of 1 … 100 and read again."""
    return decode_rgb(encode_jpeg(image, quality), None, "a JPEG in memory")


def gaussian_blur(image: Image, sigma: float) -> Image:
    """The image blurred by a Gaussian with a standard deviation of ``sigma`` px, > 0."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def motion_blur(image: Image, length: int, degrees: float) -> Image:
    """The image blurred as if the camera had moved along a straight line.

    Args:
        image: ``(H, W, 3)``.
        length: Length of the line, px; odd.
        degrees: Its direction, counter-clockwise from the horizontal.
    """
    line = np.zeros((length, length), np.float32)
    centre = length // 2
    line[centre] = 1
    turn = cv2.getRotationMatrix2D((centre, centre), degrees, 1.0)
    kernel = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _mapped(image: Image, levels: NDArray[np.float32]) -> Image:
    """Each value v of the image replaced by ``levels[v]``, rounded and cut to 0 … 255."""
    return cv2.LUT(image, np.rint(levels).clip(0, 255).astype(np.uint8))
