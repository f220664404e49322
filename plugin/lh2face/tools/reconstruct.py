"""``lh2face reconstruct``: draw the reconstructions of faces."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from lh2face.artifacts.file_names import RECONSTRUCTOR_WEIGHTS
from lh2face.artifacts.model import load_model, read_description
from lh2face.artifacts.model import load_reconstructor as load_fitted
from lh2face.data.images import decode_rgb, read_file
from lh2face.files.outputs import atomic_files
from lh2face.progress import track
from lh2face.recognizers.preprocessor import normalize_images
from lh2face.reconstruction import Reconstruction, Reconstructor
from lh2face.reconstruction.pictures import pixels, relief
from lh2face.rendering import lambert_shading, normals_from_depth, shade
from lh2face.tools.verify import face_reader

TURNS = (-60, -40, -20, 0, 20, 40, 60)
# Light of the relit picture: ambient, diffuse, and x and y of its direction, from the upper left.
LIGHT = (0.35, 0.65, 0.8, 0.5)
TILE, GAP = 128, 4
FRAMES, SECONDS = 48, 2.4


def run(
    images: Sequence[Path], model: Path, out: Path, *, landmarks: Path | None = None,
    detector: str | None = None,
) -> None:  # fmt: skip
    """Write a sheet of pictures, ``<name>.png``, and the turning face, ``<name>.gif``, per image.

    Args:
        images: Aligned faces, or any photos with landmarks or a detector.
        model: Folder of stage ``fit3d``, or of a recognizer trained jointly with a reconstructor.
        out: Folder to write into.
        landmarks: CSV of landmarks, see :func:`~lh2face.tools.verify.face_reader`.
        detector: Name or file of a detector, see :func:`~lh2face.detection.open_named`.

    Raises:
        ValueError: If an image cannot be decoded, two images have the same name, or the folder has
            no reconstructor.
    """
    names = [path.stem for path in images]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(
            f"images: found the name {sorted(twice)[0]} more than once; expected different names"
        )
    read: Callable[[Path], np.ndarray] = aligned_already
    if landmarks is not None or detector is not None:
        read = face_reader(landmarks, detector)
    reconstructor = load_reconstructor(model).eval().enlarged()
    size = reconstructor.image_size
    written = [f"{name}.{kind}" for name in names for kind in ("png", "gif")]
    with torch.no_grad(), atomic_files(out, written, images) as folder:
        for path, name in track(list(zip(images, names, strict=True)), "drawing faces"):
            crop = cv2.resize(read(path), (size, size), interpolation=cv2.INTER_AREA)
            inputs = normalize_images(torch.from_numpy(crop).permute(2, 0, 1)[None])
            face = reconstructor(inputs)
            picture = sheet(reconstructor, inputs, face)[..., ::-1]
            (folder / f"{name}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
            write_turn(folder / f"{name}.gif", reconstructor, face)


def aligned_already(path: Path) -> np.ndarray:
    """Read an aligned face of any size, ``(H, W, 3)`` uint8 RGB."""
    return decode_rgb(read_file(path), None, str(path))


def load_reconstructor(folder: Path) -> Reconstructor:
    """Load a reconstructor from a folder of stage ``fit3d``, or from a jointly trained recognizer.

    Raises:
        ValueError: If the folder has none.
    """
    if (folder / RECONSTRUCTOR_WEIGHTS).exists():
        return load_fitted(folder)
    if not read_description(folder)["recognizer"].get("reconstructor"):
        raise ValueError(f"{folder}: the recognizer was trained without a reconstructor")
    reconstructor: Reconstructor = load_model(folder).reconstructor
    return reconstructor


def sheet(reconstructor: Reconstructor, inputs: Tensor, face: Reconstruction) -> np.ndarray:
    """Draw the parts of a reconstruction in one row and turned views below it, RGB uint8."""
    normals = normals_from_depth(face.depth)
    relit = shade(face.albedo, lambert_shading(normals, inputs.new_tensor([LIGHT])))
    image, mask = reconstructor.rendered(face)
    upper = [
        *(pixels(picture)[0] for picture in (inputs, face.canonical)),
        np.repeat(relief(reconstructor, face)[0, ..., None], 3, axis=2),
        *(pixels(p)[0] for p in (normals * normals.new_tensor([1, 1, -1])[:, None, None], relit)),
        pixels(torch.where(mask[:, None], image, -1))[0],
    ]
    lower = [pixels(reconstructor.turned(face, yaw(degrees)))[0] for degrees in TURNS]
    rows = [labelled(upper, ("input", "canonical", "depth", "normals", "relit", "rendered again"))]
    rows.append(labelled(lower, [f"{degrees:+d}" if degrees else "0" for degrees in TURNS]))
    width = max(row.shape[1] for row in rows)
    white = [np.full((len(row), width - row.shape[1], 3), 255, np.uint8) for row in rows]
    return np.vstack([np.hstack(pair) for pair in zip(rows, white, strict=True)])


def labelled(pictures: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Draw pictures side by side at the size of a tile, each above its name."""
    tiles = []
    for picture, name in zip(pictures, names, strict=True):
        tile = np.full((TILE + 22, TILE + GAP, 3), 255, np.uint8)
        tile[:TILE, :TILE] = cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(tile, name, (2, TILE + 15), font, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
        tiles.append(tile)
    return np.hstack(tiles)


def yaw(degrees: float) -> Tensor:
    """Return the view ``(1, 6)`` of a face turned about the vertical axis."""
    view = torch.zeros(1, 6)
    view[:, 1] = np.radians(degrees)
    return view


def write_turn(path: Path, reconstructor: Reconstructor, face: Reconstruction) -> None:
    """Write an animated GIF of the face turning from side to side and back."""
    from PIL import Image

    swing = TURNS[-1] * np.sin(np.linspace(0, 2 * np.pi, FRAMES, endpoint=False))
    frames = [pixels(reconstructor.turned(face, yaw(degrees)))[0] for degrees in swing]
    large = [Image.fromarray(frame).resize((2 * TILE, 2 * TILE)) for frame in frames]
    large[0].save(
        path, save_all=True, append_images=large[1:], duration=1000 * SECONDS / FRAMES, loop=0
    )
