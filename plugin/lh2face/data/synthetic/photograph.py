"""Photographs of a synthetic person: view, light, expression, occlusion, degradation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch

from lh2face.data.images import encode_jpeg
from lh2face.data.synthetic.face_model import build_faces
from lh2face.rendering import (
    DepthMeshRenderer,
    back_project,
    lambert_shading,
    normals_from_depth,
    project,
    transform,
)
from lh2face.rendering.camera import focal_length

MAX_YAW = 60.0
# The face is in front of the axis of rotation. At 90°, it would move to the side by this much.
TURN_SHIFT = 0.035


@dataclass
class Scene:
    """Conditions of one photograph.

    Attributes:
        yaw: Rotation to the side, in degrees, within ±``MAX_YAW``.
        pitch: Rotation up or down, in degrees.
        roll: Rotation in the image plane, in degrees.
        age: 0 … 1, about 18 to 80 years.
        degradation: 0 … 1; 0 is a sharp photograph. The quality is ``1 − degradation``.
        glasses: 1 with dark glasses, else 0.
        mask: 1 with a mask over mouth and nose, else 0.
        seed: Seed of everything else: expression, light, background, noise.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    age: float = 0.3
    degradation: float = 0.0
    glasses: float = 0.0
    mask: float = 0.0
    seed: np.random.SeedSequence = field(default_factory=np.random.SeedSequence)


@dataclass
class Photograph:
    """A photograph with its ground truth.

    Attributes:
        jpeg: The encoded loose crop.
        landmarks: ``(5, 2)`` float32, in px.
        depth: ``(S, S)`` float32 depth as seen in the photograph; NaN outside of the head.
        view: ``(6,)`` float32: rx, ry, rz in rad, tx, ty, tz in units of the depth.
    """

    jpeg: bytes
    landmarks: np.ndarray
    depth: np.ndarray
    view: np.ndarray


def random_scene(kind: str, rng: np.random.Generator, seed: np.random.SeedSequence) -> Scene:
    """Draw a scene of a kind.

    Args:
        kind: frontal, profile, low_quality, aged, occluded or any.
        rng: Generator of the scene's attributes.
        seed: Seed that the scene keeps for everything else.
    """
    scene = Scene(seed=seed)
    scene.pitch, scene.roll = rng.normal(0, [7, 6])
    scene.yaw = rng.normal(0, 8)
    scene.age = rng.uniform(0.05, 0.45)
    scene.degradation = rng.uniform(0, 0.12)
    changes: dict[str, Callable[[], dict[str, Any]]] = {
        "frontal": lambda: {},
        "profile": lambda: {"yaw": rng.choice([-1, 1]) * rng.uniform(42, MAX_YAW)},
        "low_quality": lambda: {"degradation": rng.uniform(0.6, 1), "yaw": rng.uniform(-30, 30)},
        "aged": lambda: {"age": rng.uniform(0.8, 1)},
        "occluded": lambda: {"glasses": float(first := rng.random() < 0.5), "mask": 1.0 - first},
        "any": lambda: {
            "yaw": np.clip(rng.normal(0, 27), -MAX_YAW, MAX_YAW),
            "age": rng.uniform(0.05, 0.95),
            "degradation": rng.beta(0.7, 1.6),
            "glasses": float(rng.random() < 0.07),
            "mask": float(rng.random() < 0.05),
        },
    }
    for name, value in changes[kind]().items():
        setattr(scene, name, float(value))
    return scene


def photograph(
    person: dict[str, np.ndarray], scenes: list[Scene], image_size: int
) -> list[Photograph]:
    """Photograph a person in each scene; a photograph depends on its own scene only.

    Args:
        person: A person from :func:`~lh2face.data.synthetic.face_model.sample_identity`.
        scenes: The scenes.
        image_size: Side S of the photographs, in px.

    Returns:
        One photograph per scene.
    """
    rngs = [np.random.default_rng(scene.seed) for scene in scenes]
    face, views, lights = [], [], []
    for scene, rng in zip(scenes, rngs, strict=True):
        smile, raised = np.clip(rng.normal(0.15, 0.45, 2), -1, 1)
        opened = max(0.0, rng.normal(-0.1, 0.35))
        blink = rng.random() ** 6
        face.append([smile, min(opened, 1.0), blink, raised, scene.age, scene.glasses, scene.mask])
        shift = rng.normal(0, 0.003, 2)
        # The face rotates about an axis behind it; this shift keeps it in the middle.
        shift[0] += TURN_SHIFT * np.sin(np.radians(scene.yaw))
        away = rng.uniform(-0.01, 0.14)  # a face farther from the camera is smaller
        angles = np.radians([scene.pitch, scene.yaw, scene.roll])
        views.append([*angles, *shift, away])
        ambient = rng.uniform(0.35, 0.75)
        lights.append([ambient, rng.uniform(1.0, 1.25) - ambient, *rng.normal(0, [0.8, 0.45])])
    columns = torch.tensor(np.array(face), dtype=torch.float32).unbind(1)
    smiles, mouths, blinks, brows, ages, glasses, masks = columns
    view = torch.tensor(np.array(views), dtype=torch.float32)
    light = torch.tensor(np.array(lights), dtype=torch.float32)

    depth, albedo, points = build_faces(
        [person] * len(scenes), smiles, mouths, blinks, brows, ages, glasses, masks, image_size
    )
    shading = lambert_shading(normals_from_depth(depth.nan_to_num(1.06)), light)
    renderer = DepthMeshRenderer(image_size)
    # Rendering the vertices' camera depth as a fourth channel gives the depth map of the view.
    camera_depth = transform(back_project(depth), view)[:, 2:].nan_to_num()
    rendered, mask = renderer.render(torch.cat([albedo * shading, camera_depth], 1), depth, view)
    seen_depth = torch.where(mask, rendered[:, 3], torch.nan).numpy()
    pixels = _landmarks(points, view, image_size)
    faces = rendered[:, :3].clamp(0, 1).permute(0, 2, 3, 1).numpy()
    alphas = mask.float().numpy()
    return [
        Photograph(
            jpeg=_develop(faces[i], alphas[i], scenes[i].degradation, rngs[i]),
            landmarks=pixels[i],
            depth=seen_depth[i],
            view=view[i].numpy(),
        )
        for i in range(len(scenes))
    ]


def _landmarks(points: torch.Tensor, view: torch.Tensor, size: int) -> np.ndarray:
    """Project canonical landmarks (x, y on the grid −1 … 1, depth) to pixels in the views."""
    half = (size - 1) / 2
    z = points[..., 2]
    ray = points[..., :2] * (half / focal_length(size))
    in_space = torch.stack([ray[..., 0] * z, ray[..., 1] * z, z], 1)
    return project(transform(in_space, view), size).transpose(1, 2).numpy().astype(np.float32)


def _develop(
    face: np.ndarray, alpha: np.ndarray, degradation: float, rng: np.random.Generator
) -> bytes:
    """Put the face in front of a background, degrade the image and encode it."""
    size = len(face)
    soft = cv2.blur(alpha, (3, 3)) * alpha
    image = face * soft[..., None] + _background(size, rng) * (1 - soft[..., None])
    if degradation > 0.15:
        image = cv2.GaussianBlur(image, (0, 0), 0.3 + 2.0 * degradation * rng.uniform(0.5, 1))
        small = max(16, int(size * (1 - 0.8 * degradation * rng.uniform(0.6, 1))))
        shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR)
    noise = rng.normal(0, 0.006 + 0.05 * degradation * rng.uniform(0.3, 1), image.shape)
    image = np.clip((image + noise) * rng.uniform(0.88, 1.08), 0, 1)
    quality = int(94 - 65 * degradation * rng.uniform(0.5, 1))
    return encode_jpeg((image * 255 + 0.5).astype(np.uint8), quality)


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Make a textured background from coarse colours and finer grain."""
    image = np.zeros((size, size, 3), np.float32)
    for cells, strength in ((2, 0.22), (5, 0.12), (17, 0.05)):
        grey, color = rng.normal(0, strength, (cells, cells, 1)), rng.normal(size=(cells, cells, 3))
        coarse = (grey + 0.25 * strength * color).astype(np.float32)
        image += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    lit: np.ndarray = image + rng.uniform(0.25, 0.7) + rng.normal(0, 0.05, 3).astype(np.float32)
    return lit.clip(0, 1)
