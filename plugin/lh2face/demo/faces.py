"""What the page asks for: the face in a photo, the face turned, the score of two faces."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from lh2face.artifacts.thresholds import read_thresholds
from lh2face.data.align import TEMPLATE_SIZE, norm_crop
from lh2face.data.images import ImageError, data_uri, decode_rgb, encode_png
from lh2face.data.main_face import find_face
from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import photograph, random_scene
from lh2face.detection import Detector, open_named
from lh2face.embedding.embedders import Embedder, open_embedder
from lh2face.recognizers.preprocessor import normalize_images
from lh2face.reconstruction import Reconstructor
from lh2face.tools.reconstruct import load_reconstructor, yaw
from lh2face.tools.verdict import Threshold, choose_threshold
from lh2face.tools.verify import compare_faces, cropped, verdict

# Longer side of what a detector sees, px: on larger photos it takes seconds.
LONGEST = 1600
# Side of the smallest picture that passes for an aligned face, px.
SMALLEST = 56
# Degrees by which a face is turned, and the side of a picture of it, px.
ANGLES = range(-60, 61, 4)
TURN = 160
EXAMPLE_SIZE = 256


@dataclass(frozen=True)
class Faces:
    """A model, and what goes with it.

    Attributes:
        embedder: The model.
        limit: Its threshold.
        kappa: ``mean``, ``std`` and ``p5`` of the faces of a benchmark, if they are known.
        detect: What finds faces; ``None`` where they have to be aligned already.
        reconstructor: What takes a face apart; ``None`` where none is given.
    """

    embedder: Embedder
    limit: Threshold
    kappa: dict[str, float] | None = None
    detect: Detector | None = None
    reconstructor: Reconstructor | None = None

    def about(self) -> dict[str, Any]:
        """What the page needs to know before there is a photo."""
        return {
            "detector": self.detect is not None,
            "reconstructor": self.reconstructor is not None,
            "angles": list(ANGLES),
            "threshold": self.limit.value,
            "origin": self.limit.origin,
            "refusal": self.limit.refusal,
        }

    def face(self, encoded: bytes, aligned: bool) -> dict[str, Any]:
        """The face in a photo.

        Args:
            encoded: A picture's file.
            aligned: Whether it is an aligned face, and nothing has to be found in it.

        Returns:
            ``crop``, the aligned face as a data URI; ``box``, the place of the face in the photo
            as shares of its width and height (left, top, width, height), ``None`` of an aligned
            face; ``notes``, a sentence each; ``turned``, pictures of the face at ``ANGLES`` side by
            side, ``None`` without a reconstructor.

        Raises:
            ImageError: If it is no picture, or has no face.
        """
        image = decode_rgb(encoded, None, "photo")
        crop, box, notes = (resized(image), None, []) if aligned else self._found(image)
        turned = None if self.reconstructor is None else turns(self.reconstructor, crop)
        return {
            "crop": data_uri("png", encode_png(crop)),
            "box": box,
            "notes": notes,
            "turned": turned and data_uri("webp", turned),
        }

    def score(self, first: bytes, second: bytes) -> dict[str, Any]:
        """The score of two aligned faces, as :meth:`face` gives them, and what follows from it.

        Raises:
            ImageError: If one is no picture, or the model makes nothing of it.
        """
        names = ("first photo", "second photo")
        pairs = zip((first, second), names, strict=True)
        faces = np.stack([decode_rgb(one, TEMPLATE_SIZE, name) for one, name in pairs])
        score, kappa = compare_faces(self.embedder, faces, names)
        doubts = list(self.limit.doubts)
        if np.array_equal(*faces):
            doubts.insert(0, "both faces are the very same picture: their score says nothing")
        return {
            "score": score,
            "verdict": verdict(score, self.limit).plain,
            "doubts": doubts,
            "kappa": [self._concentration(float(value)) for value in kappa],
        }

    def _found(self, image: np.ndarray) -> tuple[np.ndarray, list[float], list[str]]:
        """The main face of a photo, its box and what is to be said of it."""
        if self.detect is None:
            raise ImageError("photo", "there is no detector; only aligned faces can be used")
        notes = []
        scale = LONGEST / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            notes.append(f"faces were looked for at {image.shape[1]} × {image.shape[0]} px")
        face, faces = find_face(self.detect, image, "photo")
        if faces > 1:
            notes.append(f"{faces} faces; the most central of the large ones is used")
        crop = cropped(image, face.landmarks, "photo")
        shares = face.box.reshape(2, 2) / image.shape[1::-1]
        left, top = shares[0].clip(0, 1)
        right, bottom = shares[1].clip(0, 1)
        return crop, [float(part) for part in (left, top, right - left, bottom - top)], notes

    def _concentration(self, value: float) -> dict[str, Any]:
        """A κ, beside those of the benchmark's faces where they are known."""
        if self.kappa is None:
            return {"value": value, "low": False, "usual": ""}
        low = value < self.kappa["p5"]
        usual = f"the benchmark's faces: {self.kappa['mean']:.2f} ± {self.kappa['std']:.2f}"
        return {"value": value, "low": low, "usual": usual}


def open_faces(
    model: Path, *, reconstructor: Path | None, detector: str | None, far: float | None
) -> Faces:
    """Open what ``lh2face demo`` is given.

    Args:
        model: A recognition ONNX file, or the folder of a trained model.
        reconstructor: As :func:`~lh2face.tools.reconstruct.load_reconstructor` takes it.
        detector: As :func:`~lh2face.detection.open_named` takes it; MTCNN by default, if it is
            installed.
        far: As for ``lh2face verify``.

    Raises:
        ValueError: If one of them cannot be used.
    """
    known = read_thresholds(model)
    limit = choose_threshold(known, None, far)
    detect: Detector | None = None
    try:
        detect = open_named(detector or "mtcnn")
    except ValueError as error:
        if detector is not None:
            raise
        print(f"{error}; without a detector, faces have to be aligned already")
    return Faces(
        embedder=open_embedder(model),
        limit=limit,
        kappa=known and known["kappa"],
        detect=detect,
        reconstructor=(
            None if reconstructor is None else load_reconstructor(reconstructor).eval().enlarged()
        ),
    )


def resized(image: np.ndarray) -> np.ndarray:
    """An aligned face ``(112, 112, 3)`` of a square picture.

    Raises:
        ImageError: If it is not square, or smaller than ``SMALLEST``.
    """
    height, width = image.shape[:2]
    if height != width or width < SMALLEST:
        raise ImageError(
            "photo",
            f"{width} × {height} px is no aligned face, which is square and has at least "
            f"{SMALLEST} px a side",
        )
    side = (TEMPLATE_SIZE, TEMPLATE_SIZE)
    return (
        image if image.shape[:2] == side else cv2.resize(image, side, interpolation=cv2.INTER_AREA)
    )


def turns(reconstructor: Reconstructor, crop: np.ndarray) -> bytes:
    """The canonical face of a crop ``(112, 112, 3)`` uint8 RGB at ``ANGLES``, side by side: WebP,
    transparent beside the face."""
    size = reconstructor.image_size
    picture = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    inputs = normalize_images(torch.from_numpy(picture).permute(2, 0, 1)[None])
    with torch.inference_mode():
        face = reconstructor(inputs)
        surface = reconstructor.surface(face.depth)
        drawn = [
            reconstructor.renderer.render(face.canonical, surface, yaw(degrees))
            for degrees in ANGLES
        ]
    pictures = [_with_alpha(image[0].numpy(), mask[0].numpy()) for image, mask in drawn]
    return cv2.imencode(".webp", np.concatenate(pictures, axis=1), [cv2.IMWRITE_WEBP_QUALITY, 90])[
        1
    ].tobytes()


def _with_alpha(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """BGRA uint8 of a picture ``(3, S, S)`` in [−1, 1] and its mask ``(S, S)``."""
    color = ((image[::-1] + 1) * 127.5).clip(0, 255).transpose(1, 2, 0)
    # Each colour counts as much as it covers, or the black beside the face would seep in.
    alpha = mask.astype(np.float32)[..., None]
    whole = cv2.resize(
        np.dstack([color * alpha, alpha]), (TURN, TURN), interpolation=cv2.INTER_CUBIC
    )
    alpha = whole[..., 3:].clip(1e-3, 1)
    whole = np.dstack([whole[..., :3] / alpha, 255 * alpha])
    return whole.round().clip(0, 255).astype(np.uint8)


def example(same: bool) -> list[str]:
    """Two aligned synthetic faces as data URIs, drawn on the spot: of one person, or of two."""
    rng = np.random.default_rng(secrets.randbits(64))
    first = sample_identity(rng)
    people = [first, first if same else sample_identity(rng)]
    return [data_uri("png", encode_png(_drawn(person, rng))) for person in people]


def _drawn(person: Any, rng: np.random.Generator) -> np.ndarray:
    scene = random_scene("frontal", rng, np.random.SeedSequence(int(rng.integers(1 << 62))))
    (photo,) = photograph(person, [scene], EXAMPLE_SIZE)
    return norm_crop(decode_rgb(photo.jpeg, None, "drawing"), photo.landmarks)
