"""Faces turned to the side by the project's renderer."""

import hashlib
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lh2face.arguments import between, rising
from lh2face.augmentation.pixels import Image
from lh2face.augmentation.transforms import RandomTransform
from lh2face.registry import TRANSFORMS

# Number of views; they are rendered once and serve all images.
VIEWS = 128
# Number of synthetic people over whom the mean depth is computed.
PEOPLE = 16
# ``linear_3dmm``: number of synthetic people to whom the modes are fitted, and number of modes.
MODELLED, MODES = 100, 20
# Allowed values of the argument ``depth``.
DEPTHS = ("mean", "linear_3dmm", "learned")
# A learned depth shifts pixels. The shifts are linear in its difference to the mean depth; they are
# computed from two renderings, whose depths differ by this step.
STEP = 0.004
# Greatest difference between a learned depth and the mean depth; larger ones are clipped.
RELIEF = 0.03
# Horizontal distance of the nose from the mean of eyes and corners of the mouth when a face is
# turned to the side by 20°, in px of a crop of 112 × 112.
ASIDE = 7.5
# Memory for learned depths in each process, in bytes.
KEPT_BYTES = 1 << 28
# Depth of the point about which a face turns. It is close to the landmarks, so they move little.
CENTRE = 0.94
# The background is a smooth field, interpolated from CELLS × CELLS colours.
CELLS = 8
# A cell's colour is a mean over the cells outside of the head, with Gaussian weights by distance.
# This is the standard deviation of the weights, in cells.
REACH = 1.5
# Widths over which the outline is blurred, and over which hair and ears fade into the background,
# as shares of the image's side. The second is larger, because heads end at different places.
SOFTNESS, FADING = 0.01, 0.03
# Within this distance from the outline, modelled depths change to the mean depth. The unit is the
# image's side.
OUTLINE = 0.05
# Iterations of the alignment of a view.
ROUNDS = 8


class Warp(NamedTuple):
    """A view of a face: where each of its pixels comes from in the image that is turned.

    Attributes:
        x: ``(S, S)`` float32: the column of the image that each pixel shows, in px.
        y: ``(S, S)`` float32: the row of the image that each pixel shows, in px.
        head: ``(S, S)`` float32 in 0 … 1: the share of the head in each pixel; the rest of the
            pixel is background.
        landmarks: ``(5, 2)`` float32: the landmarks in the view, in px of a crop of 112 × 112.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    head: NDArray[np.float32]
    landmarks: NDArray[np.float32]


@TRANSFORMS.register_module()
class TurnedFaces(RandomTransform):
    """Turn a face to the side and up or down, and align it again.

    Most photos in training sets are frontal, but a recognizer must also recognize turned faces.
    This transform puts the image on a depth map and renders it with :class:`DepthMeshRenderer` in a
    view in which alignment by five landmarks changes nothing. The background is a smooth field of
    the colours that the image has outside of the head. All views are rendered when the first image
    is turned, which takes some seconds. After that, turning an image is a look-up of its pixels.

    There are three kinds of depth:

    - ``"mean"``: the mean of synthetic faces, for all images.
    - ``"linear_3dmm"``: a different face for each view, drawn at random from a linear model of
      synthetic faces: the mean plus principal components, with coefficients from N(0, 1).
    - ``"learned"``: the depth that a trained reconstructor predicts from the image. Its network
      runs once for each different image, and the depth is kept in memory. So transforms that change
      pixels at random should come after this one. The views are those of the mean depth; their
      pixels are shifted in proportion to the difference between the two depths.

    The transform assumes a frontal face; a face that is already turned would be turned too far. If
    the data set gives landmarks, a face that is turned to the side by 20° or more does not change.

    Args:
        probability: Probability of turning an image, in [0, 1].
        yaw: Least and greatest angle to the left or right, in degrees in [0, 80]; all angles
            between them are equally likely.
        pitch: Greatest angle up or down, in degrees in [0, 30]; drawn uniformly.
        depth: ``"mean"``, ``"linear_3dmm"`` or ``"learned"``.
        reconstructor: Folder that stage ``fit3d`` wrote; only for a learned depth. It is read when
            the first image is turned. DVC does not track it as a dependency.

    Raises:
        ValueError: If an argument is out of its range; if ``reconstructor`` is missing for a
            learned depth or given for another one, or cannot be read; or if an image is not square.

    Example:
        ``pipeline=[dict(type="RandomMirror"), dict(type="TurnedFaces", probability=0.4)]``
    """

    def __init__(
        self,
        probability: float = 0.4,
        yaw: tuple[float, float] = (20.0, 70.0),
        pitch: float = 10.0,
        depth: str = "mean",
        reconstructor: str | None = None,
    ) -> None:
        super().__init__(probability)
        self.yaw = rising("yaw", yaw, 0, 80)
        self.pitch = between("pitch", pitch, 0, 30)
        if depth not in DEPTHS:
            raise ValueError(f"depth: expected one of {', '.join(DEPTHS)}, found {depth!r}")
        if (depth == "learned") != (reconstructor is not None):
            expected = "a folder" if depth == "learned" else "None"
            raise ValueError(
                f"reconstructor: expected {expected} for the depth {depth!r}, found "
                f"{reconstructor!r}"
            )
        self.depth = depth
        self.reconstructor = reconstructor

    def change(self, image: Image, rng: np.random.Generator) -> Image:
        return turn(image, self.draw(image, rng))

    def change_face(self, face: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        if "landmarks" not in face:
            return super().change_face(face, rng)
        if is_turned(face["landmarks"]):
            return face
        warp = self.draw(face["img"], rng)
        return {**face, "img": turn(face["img"], warp), "landmarks": warp.landmarks}

    def draw(self, image: Image, rng: np.random.Generator) -> Warp:
        """Draw a random view for an image ``(S, S, 3)``."""
        height, width = image.shape[:2]
        if height != width:
            raise ValueError(f"img: TurnedFaces expected a square image, found {width} × {height}")
        number = rng.integers(VIEWS)
        if self.reconstructor is None:
            return warps(height, self.yaw, self.pitch, self.depth)[number]
        near, far = (
            warps(height, self.yaw, self.pitch, "mean", offset)[number] for offset in (0.0, STEP)
        )
        return between_warps(near, far, learned(self.reconstructor).relief(image))


def is_turned(landmarks: NDArray[np.float32]) -> bool:
    """Whether an aligned face is turned to the side by about 20° or more.

    Args:
        landmarks: ``(5, 2)`` in px of a crop of 112 × 112.
    """
    x = landmarks[:, 0]
    return bool(abs(x[2] - x[[0, 1, 3, 4]].mean()) > ASIDE)


def turn(image: Image, warp: Warp) -> Image:
    """Show an image ``(S, S, 3)`` in a view."""
    turned = cv2.remap(image, warp.x, warp.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cast(Image, cv2.blendLinear(turned, background(image), warp.head, 1 - warp.head))


def background(image: Image) -> Image:
    """Make a background ``(S, S, 3)``: a smooth field of the colours outside of the head."""
    size = len(image)
    cells = cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    field = (_spread(size) @ cells).reshape(CELLS, CELLS, 3).astype(np.uint8)
    return cast(Image, cv2.resize(field, (size, size), interpolation=cv2.INTER_LINEAR))


def mean_warp(size: int, yaw: float) -> Warp:
    """Return the view of a face with the mean depth, turned to the side by ``yaw`` degrees."""
    depth, surface = _surface(size)
    return warp_of(depth, surface, aligned_view(depth, 0.0, math.radians(yaw)))


def between_warps(near: Warp, far: Warp, relief: NDArray[np.float32]) -> Warp:
    """Return the view of an image that has its own depth, by linear interpolation.

    Args:
        near: The view of a face with the mean depth.
        far: The same view of a face with the mean depth plus ``STEP``.
        relief: ``(S, S)``: the image's depth minus the mean depth.
    """
    moved = cv2.remap(relief, near.x, near.y, cv2.INTER_LINEAR)
    share = cast(NDArray[np.float32], moved / STEP)
    return near._replace(x=near.x + share * (far.x - near.x), y=near.y + share * (far.y - near.y))


@cache
def warps(
    size: int, yaw: tuple[float, float], pitch: float, depth: str, offset: float = 0.0
) -> list[Warp]:
    """Render the ``VIEWS`` views for images of one size; the same arguments give the same views.

    Args:
        size: Side of the images, px.
        yaw: Least and greatest angle to either side, degrees.
        pitch: Greatest angle up or down, degrees.
        depth: ``"mean"`` for the mean face in every view, ``"linear_3dmm"`` for a different face in
            each view.
        offset: Number that is added to the depth; it does not change the angles and the alignment.
    """
    surface, rng = _surface(size)[1], np.random.default_rng(0)
    # Angles at equal distances cover the range better than random ones.
    angles = np.linspace(*yaw, VIEWS) * rng.permutation(np.resize([1, -1], VIEWS))
    turned = np.radians(np.stack([rng.uniform(-pitch, pitch, VIEWS), angles], 1))
    faces = _surface(size)[0].expand(VIEWS, size, size) if depth == "mean" else _modelled(size)
    return [
        warp_of(face + offset, surface, aligned_view(face, rx, ry))
        for face, (rx, ry) in zip(faces, turned.tolist(), strict=True)
    ]


def warp_of(depth: Tensor, surface: Tensor, view: Tensor) -> Warp:
    """Render one view of a face with a depth map.

    Args:
        depth: ``(S, S)``, 0.9 … 1.1.
        surface: ``(S, S)`` bool: the pixels of the head.
        view: ``(1, 6)``: rx, ry, rz in rad, tx, ty, tz in units of the depth.
    """
    from lh2face.data.synthetic.canonical import landmark_points, seen_landmarks
    from lh2face.rendering import DepthMeshRenderer

    size = len(depth)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    places, mask = DepthMeshRenderer(size, rotation_center=CENTRE).render(
        torch.stack([columns, rows])[None].float(),
        torch.where(surface, depth, torch.nan)[None],
        view,
    )
    x, y = places[0].numpy()
    # Where the source column decreases from left to right, the back of the far cheek is visible.
    head = mask[0].numpy() & (cv2.Sobel(x, cv2.CV_32F, 1, 0) >= 0)
    x, y = _extended(x, head), _extended(y, head)
    soft = cv2.GaussianBlur(head.astype(np.float32), (0, 0), max(SOFTNESS * size, 0.3))
    faded = cv2.remap(_inside(surface.numpy(), FADING), x, y, cv2.INTER_LINEAR)
    landmarks = seen_landmarks(landmark_points(depth), view, size, CENTRE)[0].numpy()
    return Warp(x, y, soft * faded, landmarks)


def _inside(head: NDArray[np.bool_], softness: float) -> NDArray[np.float32]:
    """Weights ``(S, S)``: 0 outside of a head and at its edge, rising to 1 inside.

    Args:
        head: ``(S, S)``: the pixels of the head.
        softness: Width of the rise, as a share of the image's side.
    """
    rim = cv2.GaussianBlur(head.astype(np.float32), (0, 0), softness * len(head))
    return cast(NDArray[np.float32], (2 * rim - 1).clip(0, 1))


def _extended(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Replace each unknown value of ``(S, S)`` by that of the nearest known pixel."""
    unknown = (~known).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(
        unknown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    found = np.zeros(nearest.max() + 1, np.float32)
    found[nearest[known]] = values[known]
    filled: NDArray[np.float32] = found[nearest]
    return filled


def aligned_view(depth: Tensor, rx: float, ry: float) -> Tensor:
    """Find the view ``(1, 6)`` of a turned face that alignment by five landmarks does not change.

    Args:
        depth: ``(S, S)`` depth of the face.
        rx: Pitch, rad.
        ry: Yaw, rad.
    """
    from lh2face.data.align import TEMPLATE_SIZE, estimate_norm
    from lh2face.data.synthetic.canonical import landmark_points, seen_landmarks
    from lh2face.rendering import focal_length, transform

    size = depth.shape[-1]
    ratio, focal = size / TEMPLATE_SIZE, focal_length(size)
    points = landmark_points(depth)
    view = torch.tensor([[rx, ry, 0, 0, 0, 0]])
    for _ in range(ROUNDS):
        matrix = estimate_norm(seen_landmarks(points, view, size, CENTRE)[0].numpy())
        # How far alignment moves the middle of the image, in px of the template.
        centre = (TEMPLATE_SIZE - 1) / 2
        shift = torch.from_numpy(matrix @ [centre, centre, 1] - centre).float()
        far = float(transform(points, view, CENTRE)[:, 2].mean())
        view[0, 2] += math.atan2(matrix[1, 0], matrix[0, 0])
        view[0, 3:5] += shift * ratio * far / focal
        view[0, 5] += far * (1 / math.hypot(*matrix[:, 0]) - 1)
    return view


@cache
def _surface(size: int) -> tuple[Tensor, Tensor]:
    """Return the mean depth of synthetic faces and a bool mask of the head, both ``(S, S)``."""
    from lh2face.data.synthetic.canonical import canonical_faces

    depth, _, head = canonical_faces(PEOPLE, size)
    mean = depth.mean(0)
    return (mean + mean.flip(1)) / 2, head | head.flip(1)


@cache
def _modelled(size: int) -> Tensor:
    """Draw the depths ``(VIEWS, S, S)`` of faces from the linear model, always the same ones."""
    from lh2face.data.synthetic.canonical import canonical_faces
    from lh2face.reconstruction.linear_3dmm import principal_components

    depth = canonical_faces(MODELLED, size)[0]
    mean, modes = principal_components(((depth + depth.flip(2)) / 2).flatten(1), MODES)
    coefficients = np.random.default_rng(0).normal(size=(VIEWS, MODES))
    drawn = torch.from_numpy(coefficients).float() @ modes
    # A pixel near the outline is part of some people's heads, but not of others'. The modes jump
    # there and would tear the surface, so they are not used near the outline.
    inside = torch.from_numpy(_inside(_surface(size)[1].numpy(), OUTLINE))
    return mean.view(size, size) + inside * drawn.view(-1, size, size)


@cache
def learned(reconstructor: str) -> "LearnedDepth":
    """Return the depths that a reconstructor predicts; a process loads each folder once."""
    return LearnedDepth(Path(reconstructor))


class LearnedDepth:
    """Depths that a trained reconstructor predicts; it keeps up to ``KEPT_BYTES`` of them.

    Args:
        reconstructor: Folder that stage ``fit3d`` wrote.

    Raises:
        ValueError: If the folder cannot be read.
    """

    def __init__(self, reconstructor: Path) -> None:
        from lh2face.artifacts.model import load_reconstructor

        self.model: Any = load_reconstructor(reconstructor).eval()
        self._kept: dict[bytes, NDArray[np.float16]] = {}

    def relief(self, image: Image) -> NDArray[np.float32]:
        """Return the image's canonical depth minus the mean depth, ``(S, S)``.

        A constant is subtracted, so that the median over the head is 0. Values are clipped to
        ± ``RELIEF``.

        Args:
            image: ``(S, S, 3)`` uint8 RGB.
        """
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        found = self._kept.get(key)
        if found is None:
            # float16 takes half the memory. The first call also returns the rounded values, so that
            # all calls for an image return the same.
            found = self._find(image).astype(np.float16)
            if len(self._kept) * found.nbytes < KEPT_BYTES:
                self._kept[key] = found
        return found.astype(np.float32)

    def _find(self, image: Image) -> NDArray[np.float32]:
        size, own = len(image), self.model.image_size
        small = cv2.resize(image, (own, own), interpolation=cv2.INTER_AREA)
        pixels = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            depth = self.model.depth_of(pixels)[0].numpy()
        mean, head = (part.numpy() for part in _surface(size))
        relief = cv2.resize(depth, (size, size), interpolation=cv2.INTER_LINEAR) - mean
        # The distance of the whole face does not matter, because alignment removes its effect.
        relief = np.clip(relief - np.median(relief[head]), -RELIEF, RELIEF)
        return cast(NDArray[np.float32], relief)


@cache
def _spread(size: int) -> NDArray[np.float64]:
    """Weights ``(CELLS², CELLS²)`` of the image's cells (columns) in the background's (rows)."""
    head = _surface(size)[1].numpy().astype(np.float32)
    outside = 1 - cv2.resize(head, (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()
    place = np.stack(np.divmod(np.arange(CELLS**2), CELLS), 1)
    apart = np.square(place[:, None] - place).sum(2)
    weights = np.exp(-apart / (2 * REACH**2)) * (outside + 1e-9)
    shares: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return shares
