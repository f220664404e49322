import numpy as np
import pytest
from sklearn.metrics import roc_curve as sklearn_roc

from lh2face.evaluation import bootstrap
from lh2face.evaluation.bootstrap import draw_weights, interval, tar_draws

RNG = np.random.default_rng(0)


def pairs_of(people: int, noise: float = 1.0):
    """All pairs of three templates a person, and scores of a run of so much noise."""
    first, second = np.triu_indices(people * 3, 1)
    genuine = first // 3 == second // 3
    return 2 * genuine + noise * RNG.normal(size=len(first)), genuine, first, second


def test_weights_are_draws_with_replacement():
    weights = draw_weights(50, rounds=20, seed=1)
    assert (weights.sum(axis=0) == 50).all() and (weights == weights.round()).all()
    np.testing.assert_array_equal(weights, draw_weights(50, rounds=20, seed=1))
    assert (weights[:, 0] != weights[:, 1]).any()


@pytest.mark.parametrize("chunk", [3, 100, 10**6])
def test_draws_equal_the_weighted_roc(monkeypatch, chunk):
    monkeypatch.setattr(bootstrap, "CHUNK", chunk)
    monkeypatch.setattr(bootstrap, "PAIRS", 1000)
    scores, genuine, first, second = pairs_of(20)
    shuffled = RNG.permutation(len(scores))
    scores, genuine, first, second = (x[shuffled] for x in (scores, genuine, first, second))
    fars = [1e-3, 0.013, 0.1, 0.6]
    weights = draw_weights(60, rounds=7, seed=0)
    found = tar_draws(scores, genuine, first, second, fars, weights)
    for r in range(7):
        pair = weights[first, r] * weights[second, r]
        far, tar, _ = sklearn_roc(
            genuine[pair > 0], scores[pair > 0], sample_weight=pair[pair > 0],
            drop_intermediate=False,
        )  # fmt: skip
        far, tar = far[::-1], tar[::-1]
        expected = [tar[np.abs(far - wanted).argmin()] for wanted in fars]
        np.testing.assert_allclose(found[:, r], expected)


def test_rounds_without_a_kind_are_left_out():
    # One genuine pair, (0, 1): a round that does not draw both has nothing to count.
    scores, genuine = np.array([3.0, 1.0, 2.0]), np.array([True, False, False])
    weights = np.array([[1, 0, 1, 2], [1, 2, 1, 0], [1, 1, 0, 1]], np.float32)
    draws = tar_draws(scores, genuine, np.array([0, 0, 1]), np.array([1, 2, 2]), [0.1], weights)
    np.testing.assert_array_equal(draws, [[1, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(interval(draws), [[1, 1]])


def test_interval_narrows_with_data_and_covers_the_truth():
    def ends(people):
        weights = draw_weights(people * 3, rounds=100, seed=0)
        return interval(tar_draws(*pairs_of(people), [0.1], weights))[0]

    # Scores are N(0, 1) and N(2, 1): TAR at FAR 0.1 is Φ(2 − 1.2816) = 0.7638.
    few, many = ends(10), ends(60)
    assert many[0] < 0.7638 < many[1]
    assert many[1] - many[0] < few[1] - few[0]


def test_paired_difference_is_narrower_than_either_interval():
    scores, genuine, first, second = pairs_of(40)
    weights = draw_weights(120, rounds=100, seed=0)

    def draws(values):
        return tar_draws(values, genuine, first, second, [0.1], weights)

    one = draws(scores)
    two = draws(scores - 0.3 * genuine)
    low, high = interval(one - two)[0]
    assert 0 < low < high < np.ptp(interval(one)[0])
