import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve as sklearn_roc

from lh2face.evaluation.bootstrap import tar_intervals
from lh2face.evaluation.identification import identification, mean_over_galleries
from lh2face.evaluation.ijb import (
    EvaluationError,
    face_features,
    pool_templates,
    verification_scores,
)
from lh2face.evaluation.quality import error_versus_reject, reject_area
from lh2face.evaluation.roc import roc_curve, tar_at_far
from lh2face.evaluation.verification import best_threshold, ten_fold_accuracy

RNG = np.random.default_rng(0)


def naive_templates(features, templates, media):
    pooled = []
    for template in sorted(set(templates)):
        total = 0
        for medium in sorted(set(media[templates == template])):
            total = total + features[(templates == template) & (media == medium)].mean(axis=0)
        pooled.append(total / np.linalg.norm(total))
    return np.array(pooled)


def test_pooling_against_loops():
    features = RNG.normal(size=(60, 8)).astype(np.float32)
    templates, media = RNG.integers(3, 12, 60), RNG.integers(0, 5, 60)
    pooled, ids = pool_templates(features, templates, media)
    assert ids.tolist() == sorted(set(templates))
    np.testing.assert_allclose(pooled, naive_templates(features, templates, media), atol=1e-6)


def test_switches_of_the_features():
    embeddings, score = RNG.normal(size=(4, 2, 3)), np.array([0.5, 1, 2, 0.1])
    plain = face_features(embeddings, score, flip=False, norm=False, score=False)
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1)
    full = face_features(embeddings, score, flip=True, norm=True, score=True)
    np.testing.assert_allclose(full, embeddings.mean(1) * score[:, None])
    weighted = face_features(embeddings, score, flip=True, norm=True, score=False, kappa=True)
    kappa = np.linalg.norm(embeddings, axis=2).mean(1)
    np.testing.assert_allclose(weighted, embeddings.mean(1) * kappa[:, None])


def test_not_finite_features_are_named():
    features = np.zeros((3, 4), np.float32)
    features[1, 2] = np.nan
    with pytest.raises(EvaluationError, match="features: row 1 is not finite"):
        pool_templates(features, np.array([7, 5, 5]), np.zeros(3, int))
    with pytest.raises(EvaluationError, match="3 rows for 2 images"):
        pool_templates(features, np.array([7, 5]), np.zeros(2, int))


def test_scores_and_absent_templates():
    templates, ids = np.eye(3, dtype=np.float32), np.array([2, 5, 9])
    scores = verification_scores(templates, ids, np.array([2, 9]), np.array([2, 5]))
    assert scores.tolist() == [1, 0]
    with pytest.raises(EvaluationError, match="template 7"):
        verification_scores(templates, ids, np.array([2]), np.array([7]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=80).filter(
        lambda rows: len({genuine for _, genuine in rows}) == 2
    )
)
def test_roc_and_tar_equal_the_usual_way_with_ties(rows):
    scores, genuine = (np.array(column) for column in zip(*rows, strict=True))
    fpr, tpr, _ = sklearn_roc(genuine, scores)
    far, tar = roc_curve(scores, genuine)
    np.testing.assert_allclose(far, fpr)
    np.testing.assert_allclose(tar, tpr)
    # insightface reads the curve from its end and takes the first of the nearest points.
    fpr, tpr = np.flipud(fpr), np.flipud(tpr)
    for wanted in (1e-3, 0.1, 0.5):
        _, nearest = min(list(zip(abs(fpr - wanted), range(len(fpr)), strict=True)))
        assert tar_at_far(scores, genuine, [wanted])[0] == pytest.approx(tpr[nearest])


@pytest.mark.parametrize(
    ("scores", "genuine", "message"),
    [
        ([1.0, 2.0], [True, True], "no impostor"),
        ([1.0, 2.0], [False, False], "no genuine"),
        ([1.0, np.nan], [True, False], "NaN at 1"),
    ],
)
def test_useless_pairs_are_named(scores, genuine, message):
    with pytest.raises(EvaluationError, match=message):
        roc_curve(np.array(scores), np.array(genuine))


def test_identification_against_loops():
    gallery = RNG.normal(size=(12, 6))
    probes = np.r_[gallery[:8] + RNG.normal(size=(8, 6)), RNG.normal(size=(20, 6))]
    subjects = np.r_[np.arange(8), np.full(20, 99)]
    result = identification(gallery, np.arange(12), probes, subjects, [0.1], ranks=12)
    alarms = sorted(max(p @ g for g in gallery) for p in probes[8:])
    threshold = alarms[-1 - int(0.1 * 20)]
    ranks, found = [], []
    for i, probe in enumerate(probes[:8]):
        order = np.argsort(-(gallery @ probe)).tolist()
        ranks.append(order.index(i))
        found.append(ranks[-1] == 0 and probe @ gallery[i] > threshold)
    np.testing.assert_allclose(result.cmc, [np.mean(np.array(ranks) < r) for r in range(1, 13)])
    assert result.tpir[0] == np.mean(found)
    mean = mean_over_galleries([result, result])
    np.testing.assert_allclose(mean.cmc, result.cmc)


def test_ties_do_not_help_the_mate():
    result = identification(
        np.ones((3, 1)), np.arange(3), np.ones((2, 1)), np.array([0, 9]), [0.1], ranks=3
    )
    assert result.cmc.tolist() == [0, 0, 1]


@pytest.mark.parametrize(("subjects", "kind"), [([0, 0], "non-mated"), ([7, 8], "mated")])
def test_identification_needs_both_kinds(subjects, kind):
    with pytest.raises(EvaluationError, match=f"no {kind}"):
        identification(np.ones((1, 1)), np.array([0]), np.ones((2, 1)), np.array(subjects), [0.1])


def test_accuracy():
    scores = RNG.normal(size=200)
    assert ten_fold_accuracy(scores + 10 * (scores > 0), scores > 0) == (1.0, 0.0)
    threshold = best_threshold(scores, scores > 0.3)
    assert scores[scores <= 0.3].max() < threshold < scores[scores > 0.3].min()
    with pytest.raises(EvaluationError, match="at least 10"):
        ten_fold_accuracy(scores[:5], scores[:5] > 0)


def test_reject_curve_rewards_a_quality_that_knows():
    scores = RNG.normal(size=1000)
    rejected, knows = error_versus_reject(scores, scores)
    _, blind = error_versus_reject(scores, RNG.normal(size=1000))
    assert knows[0] == blind[0] == pytest.approx(0.1)
    assert knows[rejected > 0.11].max() == 0
    assert reject_area(rejected, knows) < 0.01 < 0.07 < reject_area(rejected, blind)


def test_interval_covers_the_figure_and_narrows_with_data():
    def width(people):
        first, second = np.triu_indices(people * 3, 1)
        genuine = first // 3 == second // 3
        scores = RNG.normal(size=len(first)) + 2 * genuine
        low, high = tar_intervals(scores, genuine, first, second, [0.1], rounds=60, seed=0)[0]
        assert low < tar_at_far(scores, genuine, [0.1])[0] < high
        return high - low

    assert width(60) < width(10)
