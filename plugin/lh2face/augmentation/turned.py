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

# Views that are rendered, once for all images.
VIEWS = 128
# Synthetic people whose mean depth is that of all faces.
PEOPLE = 16
# Synthetic people that the modes of ``linear_3dmm`` are fitted to, and how many modes they have.
MODELLED, MODES = 100, 20
# What the depth may be.
DEPTHS = ("mean", "linear_3dmm", "learned")
# A learned depth is followed to first order: from the mean depth, and the one this much further.
STEP = 0.004
# Greatest distance of a learned depth from the mean one.
RELIEF = 0.03
# How far the nose of a face that is turned by 20° lies beside the middle of eyes and mouth, px of a
# crop of 112 × 112.
ASIDE = 7.5
# Learned depths that each process keeps, bytes.
KEPT_BYTES = 1 << 28
# Depth about which a face turns; near to the landmarks, which stay in the middle then.
CENTRE = 0.94
# The background is a smooth field of so many cells a side.
CELLS = 8
# How far a cell outside of the head counts, in cells.
REACH = 1.5
# Softness of the outline, in shares of the image's side, and of the hair and ears, which fade into
# the background: where they end differs from head to head.
SOFTNESS, FADING = 0.01, 0.03
# How far inside the outline the depths of people begin to differ, likewise.
OUTLINE = 0.05
ROUNDS = 8


class Warp(NamedTuple):
    """How one view is made of an image.

    Attributes:
        x: ``(S, S)`` float32, the column of the image that each pixel shows.
        y: The same of rows.
        head: ``(S, S)`` float32, how much of each pixel is head, 0 … 1.
        landmarks: ``(5, 2)`` float32, px of a crop of 112 × 112.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    head: NDArray[np.float32]
    landmarks: NDArray[np.float32]


@TRANSFORMS.register_module()
class TurnedFaces(RandomTransform):
    """Turn a face to the side and up or down, and align it again.

    Photos of a training set are mostly frontal, those that a recognizer has to tell apart are not.
    The face is laid on a depth map, turned by :class:`DepthMeshRenderer`, and seen where alignment
    by five points would put it. Beside the head is a smooth field of the colours that the image has
    there. Views are rendered once, when the first image is turned, which takes some seconds; an
    image is then only sampled.

    The depth is one of

    - ``"mean"``: the mean of synthetic faces, the same for all images.
    - ``"linear_3dmm"``: of each view that of another face, drawn at random from a linear model of
      synthetic faces: mean and principal components, coefficients from N(0, 1).
    - ``"learned"``: what a trained reconstructor finds in the image. Its network runs once for each
      image, and the depth is kept: so let random transforms of pixels follow this one. The views
      are those of the mean depth; what they show moves by the image's own depth, to first order.

    It takes the face to be frontal: one that is turned already is turned by too much. Where the
    data set gives landmarks, a face that is turned by 20° or more stays as it is. Images are
    square.

    Args:
        probability: Of turning an image, in [0, 1].
        yaw: Least and greatest angle to the left or the right, degrees in [0, 80]; uniform.
        pitch: Greatest angle up or down, degrees in [0, 30]; uniform.
        depth: ``"mean"``, ``"linear_3dmm"`` or ``"learned"``.
        reconstructor: Folder that stage ``fit3d`` wrote, for a learned depth. It is read when the
            first image is turned. DVC does not watch it.

    Raises:
        ValueError: If an argument is out of its range, a reconstructor is missing or not needed,
            its folder cannot be read, or an image is not square.

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
            needed = "needs the folder of one" if depth == "learned" else "needs none"
            raise ValueError(
                f"reconstructor: the depth {depth!r} {needed}, found {reconstructor!r}"
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
        """A random view for an image ``(S, S, 3)``."""
        height, width = image.shape[:2]
        if height != width:
            raise ValueError(f"img: TurnedFaces needs square images, found {width} × {height}")
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
        landmarks: ``(5, 2)`` px of a crop of 112 × 112.
    """
    x = landmarks[:, 0]
    return bool(abs(x[2] - x[[0, 1, 3, 4]].mean()) > ASIDE)


def turn(image: Image, warp: Warp) -> Image:
    """An image ``(S, S, 3)`` in a view."""
    turned = cv2.remap(image, warp.x, warp.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cast(Image, cv2.blendLinear(turned, background(image), warp.head, 1 - warp.head))


def background(image: Image) -> Image:
    """What may be behind a head: the colours outside of it, smoothed to the middle."""
    size = len(image)
    cells = cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    field = (_spread(size) @ cells).reshape(CELLS, CELLS, 3).astype(np.uint8)
    return cast(Image, cv2.resize(field, (size, size), interpolation=cv2.INTER_LINEAR))


def mean_warp(size: int, yaw: float) -> Warp:
    """The view of a face on the mean depth, turned to the side by an angle, degrees."""
    depth, surface = _surface(size)
    return warp_of(depth, surface, aligned_view(depth, 0.0, math.radians(yaw)))


def between_warps(near: Warp, far: Warp, relief: NDArray[np.float32]) -> Warp:
    """How a view is made of an image with a depth of its own, to first order in that.

    Args:
        near: The view on the mean depth.
        far: The same on a depth that is ``STEP`` greater.
        relief: ``(S, S)``, the image's depth less the mean one.
    """
    moved = cv2.remap(relief, near.x, near.y, cv2.INTER_LINEAR)
    share = cast(NDArray[np.float32], moved / STEP)
    return near._replace(x=near.x + share * (far.x - near.x), y=near.y + share * (far.y - near.y))


@cache
def warps(
    size: int, yaw: tuple[float, float], pitch: float, depth: str, offset: float = 0.0
) -> list[Warp]:
    """The views of a range of angles, degrees, for images of a size; always the same.

    Args:
        size: Side of the images, px.
        yaw: Least and greatest angle to either side.
        pitch: Greatest angle up or down.
        depth: ``"mean"``, or ``"linear_3dmm"``: a face of its own for each view.
        offset: Added to the depth, without another view.
    """
    surface, rng = _surface(size)[1], np.random.default_rng(0)
    # Spread evenly, so that a few views fill the range.
    angles = np.linspace(*yaw, VIEWS) * rng.permutation(np.resize([1, -1], VIEWS))
    turned = np.radians(np.stack([rng.uniform(-pitch, pitch, VIEWS), angles], 1))
    faces = _surface(size)[0].expand(VIEWS, size, size) if depth == "mean" else _modelled(size)
    return [
        warp_of(face + offset, surface, aligned_view(face, rx, ry))
        for face, (rx, ry) in zip(faces, turned.tolist(), strict=True)
    ]


def warp_of(depth: Tensor, surface: Tensor, view: Tensor) -> Warp:
    """How a view is made of an image that lies on a depth map.

    Args:
        depth: ``(S, S)``.
        surface: ``(S, S)`` bool, where the head is.
        view: ``(1, 6)``.
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
    # Where the column runs backwards, the inside of the far cheek shows.
    head = mask[0].numpy() & (cv2.Sobel(x, cv2.CV_32F, 1, 0) >= 0)
    x, y = _extended(x, head), _extended(y, head)
    soft = cv2.GaussianBlur(head.astype(np.float32), (0, 0), max(SOFTNESS * size, 0.3))
    faded = cv2.remap(_inside(surface.numpy(), FADING), x, y, cv2.INTER_LINEAR)
    landmarks = seen_landmarks(landmark_points(depth), view, size, CENTRE)[0].numpy()
    return Warp(x, y, soft * faded, landmarks)


def _inside(head: NDArray[np.bool_], softness: float) -> NDArray[np.float32]:
    """0 at the edge of a head ``(S, S)`` and outside, rising to 1 within a share of the side."""
    rim = cv2.GaussianBlur(head.astype(np.float32), (0, 0), softness * len(head))
    return cast(NDArray[np.float32], (2 * rim - 1).clip(0, 1))


def _extended(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Values ``(S, S)`` where they are known, elsewhere that of the nearest known pixel."""
    unknown = (~known).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(
        unknown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    found = np.zeros(nearest.max() + 1, np.float32)
    found[nearest[known]] = values[known]
    filled: NDArray[np.float32] = found[nearest]
    return filled


def aligned_view(depth: Tensor, rx: float, ry: float) -> Tensor:
    """The view ``(1, 6)`` of a turned face that alignment by its five points would leave as it is.

    Args:
        depth: ``(S, S)``.
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
        # Where the middle of the image goes, px of the template.
        centre = (TEMPLATE_SIZE - 1) / 2
        shift = torch.from_numpy(matrix @ [centre, centre, 1] - centre).float()
        far = float(transform(points, view, CENTRE)[:, 2].mean())
        view[0, 2] += math.atan2(matrix[1, 0], matrix[0, 0])
        view[0, 3:5] += shift * ratio * far / focal
        view[0, 5] += far * (1 / math.hypot(*matrix[:, 0]) - 1)
    return view


@cache
def _surface(size: int) -> tuple[Tensor, Tensor]:
    """The mean depth ``(S, S)`` of synthetic faces, and where the head is ``(S, S)`` bool."""
    from lh2face.data.synthetic.canonical import canonical_faces

    depth, _, head = canonical_faces(PEOPLE, size)
    mean = depth.mean(0)
    return (mean + mean.flip(1)) / 2, head | head.flip(1)


@cache
def _modelled(size: int) -> Tensor:
    """Depths ``(VIEWS, S, S)`` of faces drawn from the linear model; always the same."""
    from lh2face.data.synthetic.canonical import canonical_faces
    from lh2face.reconstruction.linear_3dmm import principal_components

    depth = canonical_faces(MODELLED, size)[0]
    mean, modes = principal_components(((depth + depth.flip(2)) / 2).flatten(1), MODES)
    coefficients = np.random.default_rng(0).normal(size=(VIEWS, MODES))
    drawn = torch.from_numpy(coefficients).float() @ modes
    # Near the outline some people have a head and others have none. The modes jump there, and would
    # tear the outline.
    inside = torch.from_numpy(_inside(_surface(size)[1].numpy(), OUTLINE))
    return mean.view(size, size) + inside * drawn.view(-1, size, size)


@cache
def learned(reconstructor: str) -> "LearnedDepth":
    """The depths that a reconstructor finds; one for each folder in a process."""
    return LearnedDepth(Path(reconstructor))


class LearnedDepth:
    """What a trained reconstructor finds in images; kept while there is room.

    Args:
        reconstructor: Folder that stage ``fit3d`` wrote.

    Raises:
        ValueError: If it cannot be read.
    """

    def __init__(self, reconstructor: Path) -> None:
        from lh2face.artifacts.model import load_reconstructor

        self.model: Any = load_reconstructor(reconstructor).eval()
        self._kept: dict[bytes, NDArray[np.float16]] = {}

    def relief(self, image: Image) -> NDArray[np.float32]:
        """The image's canonical depth less the mean one, 0 in the middle: ``(S, S)``.

        Args:
            image: ``(S, S, 3)`` uint8 RGB.
        """
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        found = self._kept.get(key)
        if found is None:
            # In half the bytes; rounded at once, so that what is kept is what was found.
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
        # How far away the whole face is does not matter: alignment brings it back.
        relief = np.clip(relief - np.median(relief[head]), -RELIEF, RELIEF)
        return cast(NDArray[np.float32], relief)


@cache
def _spread(size: int) -> NDArray[np.float64]:
    """Weights ``(CELLS², CELLS²)`` of the background: from cells outside of the head to all."""
    head = _surface(size)[1].numpy().astype(np.float32)
    outside = 1 - cv2.resize(head, (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()
    place = np.stack(np.divmod(np.arange(CELLS**2), CELLS), 1)
    apart = np.square(place[:, None] - place).sum(2)
    weights = np.exp(-apart / (2 * REACH**2)) * (outside + 1e-9)
    shares: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return shares
