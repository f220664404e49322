"""Random transforms of training images, registered in mmengine's registry.

A transform is called with a dict, like those of mmcv. It reads ``img``, RGB ``(H, W, 3)`` uint8,
and ``rng``, the :class:`numpy.random.Generator` for all its random draws. It returns the dict with
a new ``img``. Transforms that move the face also change ``landmarks`` ``(5, 2)``, in px of a crop
of 112 × 112, if they are given. ``rng`` is optional: without it, each call creates a generator that
is seeded from PyTorch's global generator, which a data loader seeds differently in every worker.
"""

from typing import Any

import numpy as np
import torch

from lh2face.arguments import at_least, between, rising
from lh2face.augmentation import pixels
from lh2face.augmentation.pixels import INTERPOLATIONS, Image
from lh2face.data.align import MIRRORED_LANDMARKS
from lh2face.registry import TRANSFORMS

# A landmark p = (x, y), in px of a crop of 112 × 112, is at SIGNS · p + SHIFT in the mirror image.
SIGNS, SHIFT = np.array([-1, 1], np.float32), np.array([111, 0], np.float32)


class RandomTransform:
    """Base class of the transforms, which change an image with a given probability.

    Args:
        probability: Probability of a change, in [0, 1].

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, probability: float) -> None:
        self.probability = between("probability", probability, 0, 1)

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        """Return a changed copy of ``image``, of the same shape."""
        raise NotImplementedError

    def change_face(self, face: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Return a copy of the dict with a changed image and, if the face moves, new landmarks."""
        return {**face, "img": self.change(face["img"], rng)}

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change the image in a dict with the transform's probability.

        Args:
            results: ``img`` ``(H, W, 3)`` uint8 RGB and, for reproducible draws, ``rng``.

        Returns:
            The dict itself, or a copy with the changed ``img``.

        Raises:
            ValueError: If ``img`` has another shape or dtype.
        """
        image, rng = results["img"], results.get("rng")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"img: {type(self).__name__} expected uint8 of shape (H, W, 3), found "
                f"{image.dtype} of shape {image.shape}"
            )
        if rng is None:
            rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
        if rng.random() < self.probability:
            return self.change_face(results, rng)
        return results

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


@TRANSFORMS.register_module()
class RandomMirror(RandomTransform):
    """Mirror the image left to right.

    Args:
        probability: Probability of mirroring an image, in [0, 1].

    Example:
        ``pipeline=[dict(type="RandomMirror")]``
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__(probability)

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        return pixels.mirror(image)

    def change_face(self, face: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        mirrored = super().change_face(face, rng)
        if "landmarks" in face:
            mirrored["landmarks"] = face["landmarks"][MIRRORED_LANDMARKS] * SIGNS + SHIFT
        return mirrored


class RandomRectangle(RandomTransform):
    """Base class of the transforms that draw a random rectangle.

    Args:
        probability: Probability of changing an image, in [0, 1].
        area: Least and greatest share of the image that the rectangle has, in [0.0001, 1].
        ratio: Least and greatest ratio of its height to its width, in [0.01, 100].

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self, probability: float, area: tuple[float, float], ratio: tuple[float, float]
    ) -> None:
        super().__init__(probability)
        self.area = rising("area", area, 1e-4, 1)
        self.ratio = rising("ratio", ratio, 0.01, 100)


@TRANSFORMS.register_module()
class RandomCrop(RandomRectangle):
    """Keep a random rectangle of the image in place and make the rest black, as AdaFace does.

    The defaults are those of AdaFace (Kim et al., CVPR 2022, arXiv 2204.00964) and its code. The
    area is drawn uniformly. The logarithm of the ratio is drawn uniformly from the ratios with
    which the rectangle fits into the image.

    Args:
        probability: Probability of cropping an image, in [0, 1].
        area: Least and greatest share of the image to keep, in [0.0001, 1].
        ratio: Least and greatest ratio of height to width, in [0.01, 100].

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        probability: float = 0.2,
        area: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        super().__init__(probability, area, ratio)

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        return pixels.keep_rectangle(image, *rectangle(rng, image, self.area, self.ratio))


@TRANSFORMS.register_module()
class RandomOcclusion(RandomRectangle):
    """Cover a random rectangle of the image with noise (random erasing).

    The default areas and ratios, and the cover with a random colour per pixel, are those of Zhong
    et al., "Random Erasing Data Augmentation", AAAI 2020 (arXiv 1708.04896). Area and ratio are
    drawn in the same way as in :class:`RandomCrop`.

    Args:
        probability: Probability of covering a part of an image, in [0, 1].
        area: Least and greatest share of the image to cover, in [0.0001, 1].
        ratio: Least and greatest ratio of height to width, in [0.01, 100].

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        probability: float = 0.2,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        super().__init__(probability, area, ratio)

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        top, left, height, width = rectangle(rng, image, self.area, self.ratio)
        cover = rng.integers(0, 256, (height, width, 3), np.uint8)
        return pixels.cover_rectangle(image, top, left, cover)


@TRANSFORMS.register_module()
class RandomLowResolution(RandomTransform):
    """Shrink the image and enlarge it again, with two random interpolations, as AdaFace does.

    Args:
        probability: Probability of changing an image, in [0, 1].
        scale: Least and greatest factor on the sides, in [0.01, 1], drawn uniformly. The default
            is AdaFace's.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, probability: float = 0.2, scale: tuple[float, float] = (0.2, 1.0)) -> None:
        super().__init__(probability)
        self.scale = rising("scale", scale, 0.01, 1)

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        down, up = rng.choice(INTERPOLATIONS, 2).tolist()
        return pixels.low_resolution(image, rng.uniform(*self.scale), down, up)


@TRANSFORMS.register_module()
class RandomPhotometric(RandomTransform):
    """Change brightness, contrast and saturation, in a random order, as AdaFace does.

    Each of the three factors is drawn uniformly from ``1 ± x``, where x is the argument of the same
    name. The defaults are AdaFace's.

    Args:
        probability: Probability of changing an image, in [0, 1].
        brightness: Greatest difference of the brightness factor from 1, in [0, 1].
        contrast: Greatest difference of the contrast factor from 1, in [0, 1].
        saturation: Greatest difference of the saturation factor from 1, in [0, 1].

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        probability: float = 0.2,
        brightness: float = 0.5,
        contrast: float = 0.5,
        saturation: float = 0.5,
    ) -> None:
        super().__init__(probability)
        self.brightness = between("brightness", brightness, 0, 1)
        self.contrast = between("contrast", contrast, 0, 1)
        self.saturation = between("saturation", saturation, 0, 1)

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        parts = [
            (pixels.brightness, self.brightness),
            (pixels.contrast, self.contrast),
            (pixels.saturation, self.saturation),
        ]
        for number in rng.permutation(len(parts)):
            function, reach = parts[number]
            image = function(image, rng.uniform(1 - reach, 1 + reach))
        return image


@TRANSFORMS.register_module()
class RandomJPEG(RandomTransform):
    """Encode the image as JPEG with a random quality, and decode it again.

    Args:
        probability: Probability of changing an image, in [0, 1].
        quality: Least and greatest quality, whole numbers in 1 … 100, drawn uniformly. The default
            is that of Real-ESRGAN (Wang et al., ICCVW 2021, arXiv 2107.10833).

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, probability: float = 0.2, quality: tuple[int, int] = (30, 95)) -> None:
        super().__init__(probability)
        rising("quality", quality, 1, 100)
        self.quality = [at_least("quality", bound, 1) for bound in quality]

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        lowest, highest = self.quality
        return pixels.jpeg(image, int(rng.integers(lowest, highest, endpoint=True)))


@TRANSFORMS.register_module()
class RandomBlur(RandomTransform):
    """Blur the image with a Gaussian, or along a straight line in a random direction.

    Args:
        probability: Probability of blurring an image, in [0, 1].
        sigma: Least and greatest standard deviation of the Gaussian in px, in [0.01, 100], drawn
            uniformly. The default is that of SimCLR (Chen et al., ICML 2020, arXiv 2002.05709).
        length: Least and greatest length of the line in px, odd numbers in 1 … 99; an odd number is
            drawn uniformly. The default is that of Albumentations' ``MotionBlur``.
        motion: Probability that a blurred image is blurred along a line, in [0, 1].

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        probability: float = 0.2,
        sigma: tuple[float, float] = (0.1, 2.0),
        length: tuple[int, int] = (3, 7),
        motion: float = 0.5,
    ) -> None:
        super().__init__(probability)
        self.sigma = rising("sigma", sigma, 0.01, 100)
        rising("length", length, 1, 99)
        self.length = [at_least("length", bound, 1) for bound in length]
        if any(bound % 2 == 0 for bound in self.length):
            raise ValueError(f"length: expected two odd numbers, found {length!r}")
        self.motion = between("motion", motion, 0, 1)

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        if rng.random() < self.motion:
            first, last = (bound // 2 for bound in self.length)
            length = 1 + 2 * int(rng.integers(first, last, endpoint=True))
            return pixels.motion_blur(image, length, rng.uniform(0, 180))
        return pixels.gaussian_blur(image, rng.uniform(*self.sigma))


def rectangle(
    rng: np.random.Generator, image: Image, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draw a random rectangle inside an image.

    Args:
        rng: Random generator.
        image: ``(H, W, 3)``.
        area: Least and greatest share of the image, in (0, 1]; the share is drawn uniformly.
        ratio: Least and greatest ratio of height to width. The logarithm of the ratio is drawn
            uniformly, from the ratios with which a rectangle of that area fits into the image.

    Returns:
        Top, left, height and width in px.
    """
    height, width = image.shape[:2]
    share = rng.uniform(*area)
    low, high = np.log(np.clip(ratio, share * height / width, height / width / share))
    tall = np.exp(rng.uniform(low, high))
    h, w = np.sqrt(share * height * width * np.array([tall, 1 / tall])).round().astype(int)
    h, w = min(max(h, 1), height), min(max(w, 1), width)
    top, left = rng.integers(0, (height - h + 1, width - w + 1))
    return int(top), int(left), int(h), int(w)
