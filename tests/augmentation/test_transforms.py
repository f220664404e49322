"""Random transforms keep to probabilities and ranges, follow seeds and refuse bad arguments."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import Compose

from lh2face import augmentation
from lh2face.augmentation import pixels
from lh2face.augmentation.transforms import rectangle
from lh2face.data.draws import Draws
from lh2face.registry import TRANSFORMS

NAMES = [name for name in augmentation.__all__ if name != "RandomTransform"]
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def changed(name: str, seed: int = 0, **arguments) -> np.ndarray:
    transform = TRANSFORMS.build({"type": name, "probability": 1.0, **arguments})
    return transform({"img": NOISE, "rng": np.random.default_rng(seed)})["img"]


@pytest.mark.parametrize("name", NAMES)
def test_shape_and_dtype_are_kept_and_the_input_is_not_changed(name):
    before = NOISE.copy()
    for seed in range(20):
        image = changed(name, seed)
        assert image.shape == NOISE.shape and image.dtype == np.uint8
    assert (before == NOISE).all()


@pytest.mark.parametrize("name", NAMES)
def test_pixels_follow_from_the_generator_alone(name):
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    assert (changed(name, 3) == changed(name, 3)).all()
    assert (np.random.get_state()[1] == states[0]).all()
    assert torch.equal(torch.get_rng_state(), states[1])
    if name != "RandomMirror":
        assert len({changed(name, seed).tobytes() for seed in range(20)}) > 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_the_share_of_changed_images_is_the_probability(name, probability):
    transform, rng = TRANSFORMS.build({"type": name, "probability": probability}), Draws()
    tiny, count = NOISE[:8, :8], 600
    results = [{"img": tiny, "rng": rng.of(0, 0, i)} for i in range(count)]
    share = np.mean([transform(one) is not one for one in results])
    # The bound is four standard deviations.
    assert abs(share - probability) <= 4 * (probability * (1 - probability) / count) ** 0.5


def test_other_keys_are_kept_and_the_generator_is_optional():
    transform = TRANSFORMS.build({"type": "RandomOcclusion", "probability": 1.0})
    given = {"img": NOISE, "gt_label": 3}
    torch.manual_seed(1)
    first, second = transform(given), transform(given)
    assert first["gt_label"] == 3 and first.keys() == given.keys() and given["img"] is NOISE
    assert (first["img"] != second["img"]).any()
    torch.manual_seed(1)
    assert (transform(given)["img"] == first["img"]).all()


@pytest.mark.parametrize(
    "image", [NOISE.astype(np.float32), NOISE[..., 0], NOISE[..., :1], NOISE[None]]
)
def test_an_image_of_a_wrong_shape_or_dtype_is_refused(image):
    transform = TRANSFORMS.build({"type": "RandomMirror"})
    with pytest.raises(ValueError, match=r"^img: RandomMirror expected uint8 .* found .*of shape"):
        transform({"img": image})


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        *((name, {"probability": 1.5}, "probability: .* from 0 to 1, found 1.5") for name in NAMES),
        ("RandomMirror", {"probability": -0.1}, "probability: "),
        ("RandomMirror", {"probability": float("nan")}, "probability: "),
        ("RandomMirror", {"probability": "0.5"}, "probability: "),
        ("RandomCrop", {"area": (1.0, 0.2)}, "area: expected two rising numbers"),
        ("RandomCrop", {"area": (0.0, 0.2)}, "area: .* found 0.0"),
        ("RandomCrop", {"area": 0.2}, "area: expected two numbers, found 0.2"),
        ("RandomCrop", {"ratio": (2, 1)}, "ratio: expected two rising"),
        ("RandomOcclusion", {"area": (0.1, 1.1)}, "area: .* found 1.1"),
        ("RandomOcclusion", {"ratio": (0, 1)}, "ratio: .* found 0"),
        ("RandomLowResolution", {"scale": (0.5, 2)}, "scale: .* found 2"),
        ("RandomPhotometric", {"brightness": 1.1}, "brightness: .* found 1.1"),
        ("RandomPhotometric", {"contrast": -1}, "contrast: "),
        ("RandomPhotometric", {"saturation": None}, "saturation: .* found None"),
        ("RandomJPEG", {"quality": (0, 50)}, "quality: .* from 1 to 100, found 0"),
        ("RandomJPEG", {"quality": (90, 30)}, "quality: expected two rising"),
        ("RandomJPEG", {"quality": (30.5, 60)}, "quality: expected a whole number"),
        ("RandomBlur", {"sigma": (0, 1)}, "sigma: .* found 0"),
        ("RandomBlur", {"length": (3, 6)}, r"length: expected two odd numbers, found \(3, 6\)"),
        ("RandomBlur", {"length": (3.0, 7)}, "length: expected a whole number"),
        ("RandomBlur", {"motion": 2}, "motion: .* found 2"),
        ("TurnedFaces", {"yaw": (20, 90)}, "yaw: .* from 0 to 80, found 90"),
        ("TurnedFaces", {"yaw": (70, 20)}, "yaw: expected two rising"),
        ("TurnedFaces", {"pitch": -1}, "pitch: .* found -1"),
        ("TurnedFaces", {"depth": "deep"}, "depth: .* mean, linear_3dmm, learned, found 'deep'"),
        ("TurnedFaces", {"depth": "learned"}, "a folder for the depth 'learned', found None"),
        ("TurnedFaces", {"reconstructor": "runs"}, "None for the depth 'mean', found 'runs'"),
    ],
)
def test_bad_arguments_are_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.get(name)(**arguments)


def ranges(low: float, high: float):
    return st.tuples(st.floats(low, high), st.floats(low, high)).map(sorted)


@given(
    seed=st.integers(0, 1 << 32),
    area=ranges(0.05, 1),
    ratio=ranges(0.3, 3),
    shape=st.tuples(st.integers(20, 40), st.integers(20, 40)),
)
@settings(max_examples=200, deadline=None)
def test_rectangles_lie_inside_and_have_the_area(seed, area, ratio, shape):
    image = np.zeros((*shape, 3), np.uint8)
    top, left, height, width = rectangle(np.random.default_rng(seed), image, area, ratio)
    assert 0 <= top <= shape[0] - height and 0 <= left <= shape[1] - width
    # Rounding moves each side by up to half a pixel.
    assert (height - 0.51) * (width - 0.51) <= area[1] * image[..., 0].size
    assert (height + 0.51) * (width + 0.51) >= area[0] * image[..., 0].size


def test_a_rectangle_is_at_least_one_pixel():
    image = np.zeros((3, 3, 3), np.uint8)
    found = rectangle(np.random.default_rng(0), image, (1e-4, 1e-4), (1, 1))
    assert found[2:] == (1, 1)


def test_rectangles_cover_the_image_and_their_ranges():
    rng, image = np.random.default_rng(0), np.zeros((100, 100, 3), np.uint8)
    found = np.array([rectangle(rng, image, (0.2, 1.0), (3 / 4, 4 / 3)) for _ in range(2000)])
    top, left, height, width = found.T
    shares, ratios = height * width / 1e4, height / width
    # Areas are uniform: their mean is 0.6 with a standard error of 0.005.
    assert abs(shares.mean() - 0.6) < 0.025 and shares.min() < 0.21 and shares.max() > 0.99
    assert 0.73 < ratios.min() < 0.78 and 1.29 < ratios.max() < 1.37
    assert abs(np.log(ratios).mean()) < 0.02
    for first, side in ((top, height), (left, width)):
        free = side < 100
        place = first[free] / (100 - side[free])
        assert place.min() == 0 and place.max() == 1 and abs(place.mean() - 0.5) < 0.03


@pytest.fixture
def calls(monkeypatch):
    """Records the arguments of each call to a function of ``pixels``."""
    found: dict[str, list] = {}
    for name in ("low_resolution", "brightness", "contrast", "saturation", "jpeg",
                 "gaussian_blur", "motion_blur"):  # fmt: skip

        def note(image, *arguments, name=name):
            found.setdefault(name, []).append(arguments)
            return image

        monkeypatch.setattr(pixels, name, note)
    return found


def test_drawn_arguments_fill_their_ranges(calls):
    for seed in range(400):
        changed("RandomLowResolution", seed)
        changed("RandomPhotometric", seed, brightness=0.5, contrast=0.2, saturation=0)
        changed("RandomJPEG", seed, quality=(30, 33))
        changed("RandomBlur", seed, sigma=(0.1, 2.0), length=(3, 7), motion=0.25)
    scale, down, up = zip(*calls["low_resolution"], strict=True)
    fills(scale, 0.2, 1.0)
    assert len(set(zip(down, up, strict=True))) == 25
    assert set(down) == {cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC,
                         cv2.INTER_LANCZOS4}  # fmt: skip
    fills([factor for (factor,) in calls["brightness"]], 0.5, 1.5)
    fills([factor for (factor,) in calls["contrast"]], 0.8, 1.2)
    assert set(calls["saturation"]) == {(1.0,)}
    assert {quality for (quality,) in calls["jpeg"]} == {30, 31, 32, 33}
    fills([sigma for (sigma,) in calls["gaussian_blur"]], 0.1, 2.0)
    length, degrees = zip(*calls["motion_blur"], strict=True)
    assert set(length) == {3, 5, 7}
    fills(degrees, 0, 180)
    # 100 are expected, with a standard deviation of 9.
    assert 60 < len(length) < 140


def fills(values, low: float, high: float) -> None:
    """Return whether all values are in the range, and some are near each end."""
    margin = 0.05 * (high - low)
    assert low <= min(values) < low + margin and high - margin < max(values) <= high


def test_photometric_parts_come_in_any_order(monkeypatch):
    orders, now = set(), []
    for name in ("brightness", "contrast", "saturation"):

        def note(image, factor, name=name):
            now.append(name)
            return image

        monkeypatch.setattr(pixels, name, note)
    for seed in range(60):
        now.clear()
        changed("RandomPhotometric", seed)
        orders.add(tuple(now))
    assert len(orders) == 6 and all(len(set(order)) == 3 for order in orders)


def test_occlusion_covers_with_noise_only_a_rectangle():
    image = np.zeros((100, 100, 3), np.uint8)
    transform = TRANSFORMS.build({"type": "RandomOcclusion", "probability": 1.0})
    for seed in range(20):
        found = transform({"img": image, "rng": np.random.default_rng(seed)})["img"]
        rows, columns = np.nonzero(found.any(2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 0.015 < height * width / 1e4 < 0.42
        inside = found[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert abs(inside.mean() - 127.5) < 15 and inside.std() > 60


def test_mmengine_builds_a_pipeline_of_all_transforms():
    pipeline = Compose([{"type": name, "probability": 1.0} for name in NAMES])
    found = pipeline({"img": NOISE, "rng": np.random.default_rng(0)})
    assert found["img"].shape == NOISE.shape and (found["img"] != NOISE).any()


def test_random_streams_repeat_and_are_independent():
    draws, numbers = Draws(), {}
    for seed in range(3):
        for epoch in range(10):
            for index in range(100):
                numbers[seed, epoch, index] = draws.of(seed, epoch, index).random(3)
    assert len({tuple(one) for one in numbers.values()}) == 3000
    for key in ((2, 9, 99), (0, 0, 0), (1, 0, 5)):
        used = draws.of(0, 1, 1)
        used.random(1001)
        used.integers(0, 7, 5, np.uint8)
        assert (draws.of(*key).random(3) == numbers[key]).all()
    stacked = np.array(list(numbers.values()))
    assert abs(stacked.mean() - 0.5) < 0.01
    grid = stacked[:, 0].reshape(3, 10, 100)
    for axis in range(3):
        one, two = np.moveaxis(grid, axis, 0)[:-1].ravel(), np.moveaxis(grid, axis, 0)[1:].ravel()
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.1


@pytest.mark.parametrize("key", [(2**64 - 1, 2**64 - 1, 2**64 - 1), (2**32, 0, 2**40)])
def test_random_streams_accept_large_numbers(key):
    draws = Draws()
    first = draws.of(*key).random(4)
    assert (draws.of(*key).random(4) == first).all()
    assert (draws.of(0, 0, 0).random(4) != first).all()
