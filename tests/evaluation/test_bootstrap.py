import numpy as np
import pytest
from sklearn.metrics import roc_curve as sklearn_roc

from lh2face.evaluation import bootstrap
from lh2face.evaluation.bootstrap import draw_weights, interval, tar_draws

RNG = np.random.default_rng(0)


def pairs_of(people: int, noise: float = 1.0):
    """Return all pairs of templates, three per person, and noisy scores."""
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


def naive_draw(scores, genuine, pair, far):
    """Return the TAR of one round, computed in whole numbers.

    The threshold is that of the nearest FAR; of two that are equally near, the lower one."""
    total, best = pair[~genuine].sum(), None
    for threshold in [np.inf, *sorted(set(scores[pair > 0].tolist()), reverse=True)]:
        accepted = pair[~genuine & (scores >= threshold)].sum()
        distance = abs(int(accepted) * 8 - round(far * 8) * int(total))
        if best is None or distance <= best[0]:
            best = distance, pair[genuine & (scores >= threshold)].sum() / pair[genuine].sum()
    return best[1]


@pytest.mark.parametrize("chunk", [3, 2048])
@pytest.mark.parametrize("values", [2, 4, 40])
def test_pairs_of_equal_scores_are_accepted_together(monkeypatch, chunk, values):
    """FARs are in eighths, so that two are often equally near; then the lower threshold is used."""
    monkeypatch.setattr(bootstrap, "CHUNK", chunk)
    rng, fars, drawn = np.random.default_rng(values), [0.125, 0.25, 0.375, 0.5], 0
    for trial in range(15):
        first, second = np.triu_indices(14, 1)
        genuine = first // 2 == second // 2
        scores = rng.integers(0, values, len(first)) + genuine.astype(float)
        weights = draw_weights(14, rounds=4, seed=trial)
        found = tar_draws(scores, genuine, first, second, fars, weights)
        for r in range(4):
            pair = (weights[first, r] * weights[second, r]).astype(int)
            if pair[genuine].any() and pair[~genuine].any():
                drawn += 1
                expected = [naive_draw(scores, genuine, pair, far) for far in fars]
                np.testing.assert_allclose(found[:, r], expected)
    assert drawn > 40


def test_a_threshold_below_the_first_guess_is_found():
    """More than ``MARGIN`` times as many impostors as the FAR allows share the highest score."""
    scores = np.r_[np.full(40, 1.0), np.linspace(0, 0.5, 60), 0.75]
    genuine = np.arange(101) == 100
    rows = np.arange(101)
    found = tar_draws(scores, genuine, rows, rows, [0.3], np.ones((101, 2), np.float32))
    np.testing.assert_array_equal(found, [[1, 1]])
    found = tar_draws(scores, genuine, rows, rows, [0.1], np.ones((101, 2), np.float32))
    np.testing.assert_array_equal(found, [[0, 0]])


def test_rounds_without_genuine_or_impostor_pairs_are_left_out():
    # The only genuine pair is (0, 1); a round that does not draw both has no TAR.
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
