"""Estimation of the view of an aligned face from its five landmarks."""

from functools import cache

import torch
from torch import Tensor

from lh2face.data.align import MIRRORED_LANDMARKS, TEMPLATE_SIZE
from lh2face.data.synthetic.canonical import canonical_faces, landmark_points, seen_landmarks

# Number of synthetic people over whom the mean face is computed.
PEOPLE = 16
# Standard deviation of the distance of a landmark to that of the mean face in the same view, in px
# of a crop of 112 × 112. There is a distance because people differ and detectors make errors.
NOISE = 2.0
# Standard deviations of the prior: rx, ry, rz in rad, translations in units of the depth.
SPREAD = (0.25, 1.0, 0.15, 0.03, 0.03, 0.2)
# Number of Gauss–Newton steps.
ROUNDS = 10
# Step of the finite differences. It is large enough that rounding does not matter.
STEP = 1e-3


def view_of_landmarks(landmarks: Tensor, rotation_center: float) -> Tensor:
    """Estimate the most probable views of aligned faces, given their landmarks.

    The mean face of synthetic people is rotated and shifted until its landmarks fit those of the
    face. This is a least-squares fit of the six numbers of a view by the Gauss–Newton method. A
    weak Gaussian prior with the standard deviations ``SPREAD`` is needed because five points
    determine some of the numbers poorly.

    Args:
        landmarks: ``(B, 5, 2)`` in px of a crop of 112 × 112.
        rotation_center: Depth of the axis of rotation.

    Returns:
        ``(B, 6)``: rx, ry, rz in rad, tx, ty, tz in units of the depth.
    """
    points, spread = mean_points().to(landmarks), landmarks.new_tensor(SPREAD)

    def drawn(view: Tensor) -> Tensor:
        return seen_landmarks(points, view, TEMPLATE_SIZE, rotation_center).flatten(1)

    view = landmarks.new_zeros(len(landmarks), 6)
    steps = STEP * torch.eye(6, dtype=view.dtype, device=view.device)
    for _ in range(ROUNDS):
        now, moved = drawn(view), drawn((view[:, None] + steps).flatten(0, 1))
        slope = (torch.unflatten(moved, 0, (-1, 6)) - now[:, None]) / (STEP * NOISE)
        missing = (landmarks.flatten(1) - now) / NOISE
        pull = (slope @ missing[..., None])[..., 0] - view / spread**2
        view = view + torch.linalg.solve(slope @ slope.mT + torch.diag(spread**-2), pull)
    return view


@cache
def mean_points() -> Tensor:
    """Return the landmarks of the mean face, made symmetric, ``(1, 3, 5)`` in camera axes."""
    with torch.device("cpu"):
        points = landmark_points(canonical_faces(PEOPLE, TEMPLATE_SIZE)[0].mean(0))
        mirrored = points[..., MIRRORED_LANDMARKS] * torch.tensor([-1.0, 1.0, 1.0])[:, None]
        return (points + mirrored) / 2
