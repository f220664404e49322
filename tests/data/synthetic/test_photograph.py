import numpy as np
import pytest

from lh2face.data.synthetic.face_model import sample_identity
from lh2face.data.synthetic.photograph import Scene, photograph

SIZE = 128


def test_a_seed_gives_the_same_people_in_every_version():
    """The expected parameters of people were computed with version 1; later versions only draw
    people differently."""
    person = sample_identity(np.random.default_rng([0, 0, 0]))
    some = person["coefficients"][[0, 20, -1]]
    np.testing.assert_allclose(some, [0.90347, 0.26446, -2.2], atol=1e-4)
    np.testing.assert_allclose(person["freckles"][-1], [0.19087, 0.17542], atol=1e-4)


@pytest.mark.parametrize("yaw", [-60, -45, 0, 45, 60])
def test_a_turned_face_stays_in_the_middle(yaw):
    """So its aligned crop lies inside the photograph."""
    person = sample_identity(np.random.default_rng([0, 0, 0]))
    scenes = [Scene(yaw=yaw, seed=np.random.SeedSequence(i)) for i in range(4)]
    middles = [photo.landmarks[:, 0].mean() for photo in photograph(person, scenes, SIZE)]
    assert np.mean(middles) == pytest.approx((SIZE - 1) / 2, abs=0.06 * SIZE)


def test_a_head_has_ears():
    """The head is wider at the ears than above and below them."""
    person = sample_identity(np.random.default_rng([0, 0, 0]))
    (photo,) = photograph(person, [Scene(seed=np.random.SeedSequence(3))], SIZE)
    width = np.isfinite(photo.depth).sum(axis=1)
    eyes, nose, mouth = photo.landmarks[[0, 2, 3], 1].astype(int)
    assert width[(eyes + nose) // 2] > 1.05 * max(width[2 * eyes - nose - 4], width[mouth])
