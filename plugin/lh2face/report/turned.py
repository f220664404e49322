"""Pictures of synthetic faces turned by :class:`~lh2face.augmentation.TurnedFaces`."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lh2face.augmentation.turned import mean_warp, turn
from lh2face.data.align import norm_crop
from lh2face.data.images import decode_rgb
from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import Scene, photograph

# Side of the photographs that the faces are cropped from, px.
PHOTOGRAPH = 160


def turned_people(
    people: int = 4, angles: Sequence[float] = (25.0, 45.0, 60.0), size: int = 112, seed: int = 0
) -> tuple[list[str], NDArray[np.uint8]]:
    """Draw turned frontal photographs of synthetic people beside true photographs of these views.

    Args:
        people: Number N of people.
        angles: Angles of rotation to the side, in degrees.
        size: Side S of each picture, in px.
        seed: Seed that chooses the people.

    Returns:
        Titles of the columns, ``C = 1 + 2 · len(angles)``: the frontal photograph, then for each
        angle the turned one and the true one; and the pictures, ``(N, C, S, S, 3)`` uint8 RGB.
    """
    rng, warps = np.random.default_rng(seed), [mean_warp(size, angle) for angle in angles]
    sheet = []
    for one in np.random.SeedSequence(seed).spawn(people):
        # All scenes of a person have one seed: light, expression and background do not change.
        scenes = [Scene(yaw=angle, seed=one) for angle in (0.0, *angles)]
        front, *true = (
            cv2.resize(
                norm_crop(decode_rgb(taken.jpeg, None, "a photograph"), taken.landmarks),
                (size, size), interpolation=cv2.INTER_AREA,
            )
            for taken in photograph(sample_identity(rng), scenes, PHOTOGRAPH)
        )  # fmt: skip
        turned = [turn(front.astype(np.uint8, copy=False), warp) for warp in warps]
        pairs = zip(turned, true, strict=True)
        sheet.append([front, *(picture for pair in pairs for picture in pair)])
    titles = ["frontal", *(f"{angle:g}° {kind}" for angle in angles for kind in ("turned", "true"))]
    return titles, np.array(sheet)
