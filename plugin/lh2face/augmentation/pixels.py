"""Pure functions on RGB images ``(H, W, 3)`` uint8, which the transforms use.

Each function returns a new image of the same shape and does not change its argument.
"""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from lh2face.data.images import decode_rgb, encode_jpeg

Image = NDArray[np.uint8]
# OpenCV's interpolations for resizing.
INTERPOLATIONS = (
    cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4,
)  # fmt: skip
LEVELS = np.arange(256, dtype=np.float32)


def mirror(image: Image) -> Image:
    """Mirror the image left to right."""
    return cast(Image, cv2.flip(image, 1))


def keep_rectangle(image: Image, top: int, left: int, height: int, width: int) -> Image:
    """Keep a rectangle of the image and make the rest black."""
    kept = np.zeros_like(image)
    part = np.s_[top : top + height, left : left + width]
    kept[part] = image[part]
    return kept


def cover_rectangle(image: Image, top: int, left: int, cover: Image) -> Image:
    """Cover a rectangle of the image, from its top left corner, with ``cover`` ``(h, w, 3)``."""
    covered = image.copy()
    height, width = cover.shape[:2]
    covered[top : top + height, left : left + width] = cover
    return covered


def low_resolution(image: Image, scale: float, down: int, up: int) -> Image:
    """Shrink the image and enlarge it again.

    Args:
        image: ``(H, W, 3)``.
        scale: Factor on both sides, in (0, 1]; no side becomes shorter than 1 px.
        down: OpenCV's interpolation for shrinking.
        up: OpenCV's interpolation for enlarging.
    """
    height, width = image.shape[:2]
    small = (max(1, int(scale * width)), max(1, int(scale * height)))
    shrunk = cv2.resize(image, small, interpolation=down)
    return cast(Image, cv2.resize(shrunk, (width, height), interpolation=up))


def brightness(image: Image, factor: float) -> Image:
    """Multiply every value by ``factor``. 0 gives a black image, 1 the same image."""
    return _mapped(image, factor * LEVELS)


def contrast(image: Image, factor: float) -> Image:
    """Multiply each value's difference to the image's mean grey by ``factor``.

    0 gives an image of the mean grey only, 1 the same image.
    """
    # The mean is rounded in the same way as in Pillow.
    mean = int(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean() + 0.5)
    return _mapped(image, mean + factor * (LEVELS - mean))


def saturation(image: Image, factor: float) -> Image:
    """Multiply each pixel's difference to its own grey by ``factor``.

    0 gives a grey image, 1 the same image. Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
    """
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cast(Image, cv2.addWeighted(image, factor, grey, 1 - factor, 0))


def jpeg(image: Image, quality: int) -> Image:
    """Encode the image as JPEG with a quality of 1 … 100, and decode it again."""
    return decode_rgb(encode_jpeg(image, quality), None, "a JPEG in memory")


def gaussian_blur(image: Image, sigma: float) -> Image:
    """Blur the image with a Gaussian whose standard deviation is ``sigma`` px, > 0."""
    return cast(Image, cv2.GaussianBlur(image, (0, 0), sigma))


def motion_blur(image: Image, length: int, degrees: float) -> Image:
    """Blur the image as if the camera had moved along a straight line.

    Args:
        image: ``(H, W, 3)``.
        length: Length of the line in px; an odd number.
        degrees: Direction of the line in degrees, counter-clockwise from the horizontal.
    """
    line = np.zeros((length, length), np.float32)
    centre = length // 2
    line[centre] = 1
    turn = cv2.getRotationMatrix2D((centre, centre), degrees, 1.0)
    kernel = cv2.warpAffine(line, turn, (length, length))
    return cast(Image, cv2.filter2D(image, -1, kernel / kernel.sum()))


def _mapped(image: Image, levels: NDArray[np.float32]) -> Image:
    """Replace each value v of the image by ``levels[v]``, rounded and clipped to 0 … 255."""
    return cast(Image, cv2.LUT(image, np.rint(levels).clip(0, 255).astype(np.uint8)))
