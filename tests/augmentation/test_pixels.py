"""Changes of pixels equal those of Pillow and SciPy, or values computed by hand."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from lh2face.augmentation import pixels

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 20, 3), np.uint8)
# A smooth image, like a photo.
SMOOTH = cv2.GaussianBlur(RNG.integers(0, 256, (40, 40, 3), np.uint8), (0, 0), 3)
SMOOTH = cv2.normalize(SMOOTH, None, 0, 255, cv2.NORM_MINMAX)


def difference(first: np.ndarray, second: np.ndarray) -> int:
    """Return the greatest difference of two images."""
    assert first.shape == second.shape and first.dtype == second.dtype == np.uint8
    return int(np.abs(first.astype(int) - second).max())


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.8, 1.0, 1.3, 1.5])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (pixels.brightness, ImageEnhance.Brightness),
        (pixels.contrast, ImageEnhance.Contrast),
        (pixels.saturation, ImageEnhance.Color),
    ],
)
def test_photometric_changes_equal_pillows(ours, theirs, factor):
    expected = np.asarray(theirs(Image.fromarray(NOISE)).enhance(factor))
    # Pillow truncates, and we round.
    assert difference(ours(NOISE, factor), expected) <= 1


def test_mirror_equals_pillows_and_is_its_own_inverse():
    expected = np.asarray(Image.fromarray(NOISE).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert difference(pixels.mirror(NOISE), expected) == 0
    assert difference(pixels.mirror(pixels.mirror(NOISE)), NOISE) == 0


def test_pixels_outside_the_kept_rectangle_are_black():
    kept = pixels.keep_rectangle(NOISE, 3, 5, 7, 11)
    inside = np.zeros((24, 20), bool)
    inside[3:10, 5:16] = True
    assert (kept[inside] == NOISE[inside]).all() and not kept[~inside].any()
    assert difference(pixels.keep_rectangle(NOISE, 0, 0, 24, 20), NOISE) == 0


def test_a_cover_replaces_its_rectangle_only():
    cover = np.full((2, 4, 3), 7, np.uint8)
    before = NOISE.copy()
    covered = pixels.cover_rectangle(NOISE, 22, 16, cover)
    assert (covered[22:, 16:] == 7).all()
    covered[22:, 16:] = NOISE[22:, 16:]
    assert difference(covered, NOISE) == 0 and difference(NOISE, before) == 0


def test_low_resolution_equals_averages_by_hand():
    blocks = pixels.low_resolution(NOISE, 0.5, cv2.INTER_AREA, cv2.INTER_NEAREST)
    means = NOISE.reshape(12, 2, 10, 2, 3).mean((1, 3))
    assert np.abs(blocks - means.repeat(2, 0).repeat(2, 1)).max() <= 0.5
    for kind in pixels.INTERPOLATIONS:
        assert difference(pixels.low_resolution(NOISE, 1.0, kind, kind), NOISE) == 0
    one = pixels.low_resolution(NOISE, 0.01, cv2.INTER_AREA, cv2.INTER_LINEAR)
    assert (one == one[0, 0]).all()


def test_jpeg_equals_pillows():
    for quality in (30, 60, 95):
        stream = io.BytesIO()
        Image.fromarray(SMOOTH).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
        expected = np.asarray(Image.open(stream)).astype(int)
        found = pixels.jpeg(SMOOTH, quality)
        assert np.abs(found - expected).mean() < 1
    errors = [np.abs(pixels.jpeg(SMOOTH, q).astype(int) - SMOOTH).mean() for q in (5, 30, 95)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_gaussian_blur_equals_scipys(sigma):
    floats = NOISE.astype(float)
    expected = ndimage.gaussian_filter(floats, (sigma, sigma, 0), mode="mirror", truncate=4)
    # OpenCV's kernel ends after three standard deviations, and its weights have eight bits.
    assert np.abs(pixels.gaussian_blur(NOISE, sigma) - expected).max() < 2.5


@pytest.mark.parametrize(("degrees", "axis"), [(0, 1), (90, 0), (180, 1)])
def test_motion_blur_along_an_axis_is_a_running_mean(degrees, axis):
    floats = NOISE.astype(float)
    expected = ndimage.uniform_filter1d(floats, 5, axis=axis, mode="mirror")
    assert np.abs(pixels.motion_blur(NOISE, 5, degrees) - expected).max() <= 0.51


def test_motion_blur_keeps_stripes_along_its_line():
    """At 45°, counter-clockwise, stripes along the line stay and stripes across it vanish."""
    row, column = np.indices((40, 40))
    rising = np.where((row + column) % 8 < 4, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)
    along, across = (np.ptp(pixels.motion_blur(rising, 7, d)[8:-8, 8:-8]) for d in (45, 135))
    assert along > 200 and across < 150


def test_strength_zero_changes_nothing():
    for same in (
        pixels.motion_blur(NOISE, 1, 30.0),
        pixels.gaussian_blur(NOISE, 0.1),
        *(f(NOISE, 1.0) for f in (pixels.brightness, pixels.contrast, pixels.saturation)),
    ):
        assert difference(same, NOISE) == 0
