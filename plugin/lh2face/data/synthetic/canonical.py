"""Depth and albedo of synthetic people in the aligned, frontal (canonical) view."""

from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from lh2face.data.align import TEMPLATE, TEMPLATE_SIZE, estimate_norm, norm_crop
from lh2face.data.synthetic.face_model import build_faces, sample_identity
from lh2face.rendering import focal_length, project, transform

# The people of the datasets have small seeds; these people are different.
SEED = 987_654_321
GRID = 128
BATCH = 32
# Canonical depth outside of the head.
FAR = 1.08


@cache
def canonical_faces(count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make aligned canonical faces; the people are always the same and are in no dataset.

    Args:
        count: Number N of people.
        size: Side S, in px.

    Returns:
        Depth ``(N, S, S)``, albedo ``(N, 3, S, S)`` in [−1, 1], and a bool mask ``(S, S)`` of the
        pixels where most people have a head.
    """
    rng = np.random.default_rng(SEED)
    depths, albedos, heads = [], [], []
    for start in range(0, count, BATCH):
        people = [sample_identity(rng) for _ in range(min(BATCH, count - start))]
        n = len(people)
        smile, raised = torch.tensor(rng.normal(0.15, 0.4, (2, n)).clip(-1, 1))
        opened = torch.tensor(rng.normal(-0.1, 0.3, n).clip(0, 1))
        age, none = torch.tensor(rng.uniform(0.05, 0.95, n)), torch.zeros(n)
        depth, albedo, points = build_faces(
            people, smile, opened, none, raised, age, none, none, size=GRID
        )
        landmarks = ((points[..., :2] + 1) * (GRID - 1) / 2).numpy().astype(np.float32)
        for one, skin, five in zip(depth.numpy(), albedo.numpy(), landmarks, strict=True):
            known = np.isfinite(one).astype(np.float32)
            zoom = np.hypot(*estimate_norm(five)[:, 0]) * (GRID - 1) / (TEMPLATE_SIZE - 1)
            relief = _aligned(np.where(known > 0, one - FAR, 0).astype(np.float32), five, size)
            depths.append(1 + zoom * (FAR - 1 + relief))
            albedos.append(_aligned(skin.transpose(1, 2, 0), five, size).transpose(2, 0, 1))
            heads.append(_aligned(known * (one < FAR), five, size))
    depth, albedo = (torch.from_numpy(np.stack(maps)).float() for maps in (depths, albedos))
    return depth, 2 * albedo - 1, torch.from_numpy(np.mean(heads, axis=0) > 0.5)


def landmark_points(depth: Tensor) -> Tensor:
    """Compute the 3D landmarks of an aligned canonical face: the template's points on its depth.

    Args:
        depth: ``(S, S)`` canonical depth.

    Returns:
        ``(1, 3, 5)``: x, y, z in camera axes.
    """
    size = len(depth)
    # Resizing an image keeps the place of its edges, not of its pixel centres.
    spots = torch.from_numpy((TEMPLATE + 0.5) * (size / TEMPLATE_SIZE) - 0.5)
    columns, rows = spots.round().long().T
    rays = (spots.T - (size - 1) / 2) / focal_length(size)
    return (depth[rows, columns] * torch.stack([*rays, torch.ones(5)]))[None]


def seen_landmarks(points: Tensor, view: Tensor, size: int, rotation_center: float) -> Tensor:
    """Project landmarks into views, in px of a crop of 112 × 112.

    Args:
        points: ``(1, 3, 5)`` or ``(B, 3, 5)`` from :func:`landmark_points`.
        view: ``(B, 6)``: rx, ry, rz in rad, tx, ty, tz in units of the depth.
        size: Side of the depth map that the points come from, in px.
        rotation_center: Depth of the axis of rotation.

    Returns:
        ``(B, 5, 2)`` x and y in px.
    """
    moved = transform(points.expand(len(view), 3, 5), view, rotation_center)
    return (project(moved, size).transpose(1, 2) + 0.5) * (TEMPLATE_SIZE / size) - 0.5


def _aligned(image: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    image = np.ascontiguousarray(image, np.float32)
    return cv2.resize(norm_crop(image, landmarks), (size, size), interpolation=cv2.INTER_AREA)
