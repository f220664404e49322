"""The answers to the page's requests: the face in a photo, turned faces, the score of two."""

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

# Larger photos are reduced to this longer side in px, because detection would take seconds.
LONGEST = 1600
# Least side of an aligned face, in px.
SMALLEST = 56
# Angles by which a face is turned, in degrees, and the side of each picture of it, in px.
ANGLES = range(-60, 61, 4)
TURN = 160
EXAMPLE_SIZE = 256


@dataclass(frozen=True)
class Faces:
    """A model, and all else that the answers to the page depend on.

    Attributes:
        embedder: The model.
        limit: The threshold on its scores.
        kappa: ``mean``, ``std`` and ``p5`` (5th percentile) of the κ of a benchmark's faces;
            ``None`` if they are not known.
        detect: Detector that finds faces; ``None`` if only aligned faces can be used.
        reconstructor: Reconstructor whose canonical faces are turned; ``None`` for no turned faces.
    """

    embedder: Embedder
    limit: Threshold
    kappa: dict[str, float] | None = None
    detect: Detector | None = None
    reconstructor: Reconstructor | None = None

    def about(self) -> dict[str, Any]:
        """Return what the page needs to know before a photo is chosen."""
        return {
            "detector": self.detect is not None,
            "reconstructor": self.reconstructor is not None,
            "angles": list(ANGLES),
            "threshold": self.limit.value,
            "origin": self.limit.origin,
            "refusal": self.limit.refusal,
        }

    def face(self, encoded: bytes, aligned: bool) -> dict[str, Any]:
        """Find, align and turn the face in a photo.

        Args:
            encoded: The encoded photo.
            aligned: Whether the photo is an aligned face, so that no face has to be detected.

        Returns:
            ``crop``: the aligned face as a data URI; ``box``: left, top, width and height of the
            face as shares of the photo's width and height, ``None`` for an aligned face; ``notes``:
            sentences for the user; ``turned``: one picture with the face at all ``ANGLES`` side by
            side, as a data URI, ``None`` without a reconstructor.

        Raises:
            ImageError: If the photo cannot be decoded, or has no usable face.
        """
        image = decode_rgb(encoded, None, "photo")
        crop, box, notes = (resized(image), None, []) if aligned else self._detected(image)
        turned = None if self.reconstructor is None else turns(self.reconstructor, crop)
        return {
            "crop": data_uri("png", encode_png(crop)),
            "box": box,
            "notes": notes,
            "turned": turned and data_uri("webp", turned),
        }

    def score(self, first: bytes, second: bytes) -> dict[str, Any]:
        """Compare two aligned faces.

        Args:
            first: The encoded first face, such as the ``crop`` of :meth:`face`.
            second: The encoded second face.

        Returns:
            ``score``: the cosine; ``verdict``: in words; ``doubts``: reasons why the verdict is
            uncertain; ``kappa``: for each face the ``value``, whether it is ``low``, and the
            ``usual`` values in words.

        Raises:
            ImageError: If a face cannot be decoded, or its embedding is not finite or zero.
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

    def _detected(self, image: np.ndarray) -> tuple[np.ndarray, list[float], list[str]]:
        """Return the aligned main face of a photo, its box as shares of the photo, and notes."""
        if self.detect is None:
            raise ImageError("photo", "there is no detector; only aligned faces can be used")
        notes = []
        scale = LONGEST / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            notes.append(f"reduced to {image.shape[1]} × {image.shape[0]} px to find faces")
        face, faces = find_face(self.detect, image, "photo")
        if faces > 1:
            notes.append(f"{faces} faces; the most central of the large ones is used")
        crop = cropped(image, face.landmarks, "photo")
        shares = face.box.reshape(2, 2) / image.shape[1::-1]
        left, top = shares[0].clip(0, 1)
        right, bottom = shares[1].clip(0, 1)
        return crop, [float(part) for part in (left, top, right - left, bottom - top)], notes

    def _concentration(self, value: float) -> dict[str, Any]:
        """Compare a κ with those of the benchmark's faces; below their 5th percentile it is low."""
        if self.kappa is None:
            return {"value": value, "low": False, "usual": ""}
        low = value < self.kappa["p5"]
        usual = f"the benchmark's faces: {self.kappa['mean']:.2f} ± {self.kappa['std']:.2f}"
        return {"value": value, "low": low, "usual": usual}


def open_faces(
    model: Path, *, reconstructor: Path | None, detector: str | None, far: float | None
) -> Faces:
    """Open the models that ``lh2face demo`` is given.

    Args:
        model: A recognition ONNX file, or the folder of a trained model.
        reconstructor: Folder of stage ``fit3d``, or of a jointly trained model; ``None`` for no
            turned faces.
        detector: Name or file of a detector, see :func:`~lh2face.detection.open_named`; MTCNN by
            default, if it is installed.
        far: FAR that selects one of the model's thresholds; the lowest by default.

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
        print(f"{error}; without a detector, only aligned faces can be used")
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
    """Resize a square picture to an aligned face ``(112, 112, 3)``.

    Raises:
        ImageError: If it is not square, or smaller than ``SMALLEST``.
    """
    height, width = image.shape[:2]
    if height != width or width < SMALLEST:
        raise ImageError(
            "photo",
            f"{width} × {height} px is no aligned face: it must be a square of at least "
            f"{SMALLEST} × {SMALLEST} px",
        )
    side = (TEMPLATE_SIZE, TEMPLATE_SIZE)
    return (
        image if image.shape[:2] == side else cv2.resize(image, side, interpolation=cv2.INTER_AREA)
    )


def turns(reconstructor: Reconstructor, crop: np.ndarray) -> bytes:
    """Draw the canonical face of a crop at all ``ANGLES``, side by side.

    Args:
        reconstructor: The reconstructor.
        crop: ``(112, 112, 3)`` uint8 RGB.

    Returns:
        A WebP file, transparent around the faces.
    """
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
    """Convert a picture ``(3, S, S)`` in [−1, 1] with a mask ``(S, S)`` to BGRA uint8."""
    color = ((image[::-1] + 1) * 127.5).clip(0, 255).transpose(1, 2, 0)
    # Colours are weighted by the mask, or the black around the face would darken its edge.
    alpha = mask.astype(np.float32)[..., None]
    whole = cv2.resize(
        np.dstack([color * alpha, alpha]), (TURN, TURN), interpolation=cv2.INTER_CUBIC
    )
    alpha = whole[..., 3:].clip(1e-3, 1)
    whole = np.dstack([whole[..., :3] / alpha, 255 * alpha])
    return whole.round().clip(0, 255).astype(np.uint8)


def example(same: bool) -> list[str]:
    """Draw two aligned synthetic faces, of the same person or of two, and return data URIs."""
    rng = np.random.default_rng(secrets.randbits(64))
    first = sample_identity(rng)
    people = [first, first if same else sample_identity(rng)]
    return [data_uri("png", encode_png(_drawn(person, rng))) for person in people]


def _drawn(person: Any, rng: np.random.Generator) -> np.ndarray:
    """Draw an aligned frontal face of a person."""
    scene = random_scene("frontal", rng, np.random.SeedSequence(int(rng.integers(1 << 62))))
    (photo,) = photograph(person, [scene], EXAMPLE_SIZE)
    return norm_crop(decode_rgb(photo.jpeg, None, "drawing"), photo.landmarks)
