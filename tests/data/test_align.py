"""Landmarks that cannot be a face's are refused; those of real faces are accepted."""

import csv

import numpy as np
import pytest

from lh2face.data.align import TEMPLATE, check_landmarks

FACE = TEMPLATE.astype(float)
BAD = {
    "nan": (np.full((5, 2), np.nan), "five finite"),
    "one nan": (np.where(np.arange(10).reshape(5, 2) == 3, np.nan, FACE), "five finite"),
    "infinity": (np.full((5, 2), np.inf), "five finite"),
    "four": (FACE[:4], "five finite"),
    "minus one": (np.full((5, 2), -1.0), r"\(-1, -1\)"),
    "zero": (np.zeros((5, 2)), r"\(0, 0\)"),
    "one missing": (np.vstack([FACE[:4], [-1, -1]]), r"\(-1, -1\)"),
    "one point": (np.full((5, 2), 50.0), "the same point"),
    "tiny": (50 + FACE / 100, "the same point"),
    "far away": (FACE + 9000, r"\[9038\.3, 9051\.7\] is outside the image of 112 × 112"),
    "far left": (FACE - [200, 0], "outside the image"),
    "one far point": (np.vstack([FACE[:4], [1000, 90]]), "outside the image"),
    "centred outside": (FACE + np.array([70, 0]), r"\[126\.0, 71\.9\] is outside the image"),
    "swapped": (FACE[[1, 0, 2, 4, 3]], "eyes are swapped"),
    "only the eyes swapped": (FACE[[1, 0, 2, 3, 4]], "eyes are swapped"),
}


@pytest.mark.parametrize("name", BAD)
def test_landmarks_that_are_no_face_are_refused(name):
    landmarks, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        check_landmarks(landmarks, 112, 112)


@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_landmarks_of_a_rotated_face_are_accepted(degrees):
    """Photos may lie on their sides, and landmarks may reach over the border of the photo."""
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    check_landmarks((FACE - 56) @ rotation.T + 56, 112, 112)
    check_landmarks((FACE - FACE.mean(0)) @ rotation.T + [3, 110], 112, 112)
    check_landmarks((FACE - 56) @ rotation.T / 12 + 56, 112, 112)


@pytest.mark.parametrize("name", ["wild", "cfp"])
def test_landmarks_of_real_faces_are_accepted(shared_data, name):
    path = shared_data / "real" / name / "landmarks.csv"
    if not path.exists():
        pytest.skip("the real faces are not there")
    for row in csv.reader(path.open()):
        check_landmarks(np.array(row[1:], np.float32).reshape(5, 2), 168, 168)
