"""The sheet shows turned synthetic people beside the renderer's pictures at the same angle."""

import numpy as np
import pytest

from lh2face.report.turned import turned_people


@pytest.fixture(scope="module")
def sheet():
    return turned_people(people=3, angles=(30.0, -50.0), size=48)


def apart(first, second) -> float:
    """Return the mean difference in the middle of two pictures, where the face is."""
    inner = np.s_[..., 12:40, 12:36, :]
    return float(np.abs(first[inner].astype(float) - second[inner]).mean())


def test_the_sheet_has_a_row_for_each_person_and_a_title_for_each_column(sheet):
    titles, pictures = sheet
    assert titles == ["frontal", "30° turned", "30° true", "-50° turned", "-50° true"]
    assert pictures.shape == (3, 5, 48, 48, 3) and pictures.dtype == np.uint8


def test_a_turned_face_is_nearest_to_the_same_person_from_that_side(sheet):
    """It is nearer than the frontal face, the other side, and another person."""
    front, right, true_right, left, true_left = sheet[1].swapaxes(0, 1)
    assert apart(right, true_right) < 0.8 * apart(front, true_right)
    assert apart(left, true_left) < 0.8 * apart(front, true_left)
    assert apart(right, true_right) < 0.8 * apart(left, true_right)
    assert apart(right, true_right) < 0.8 * apart(right, np.roll(true_right, 1, axis=0))


def test_the_sheet_is_the_same_each_time(sheet):
    assert (turned_people(people=3, angles=(30.0, -50.0), size=48)[1] == sheet[1]).all()
