import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve as sklearn_roc

from lh2face.data.synthetic_protocol import PROTOCOLS, synthetic_meta, write_features
from lh2face.evaluation import features, pooling, scores
from lh2face.evaluation.checks import EvaluationError
from lh2face.evaluation.features import concentrations, face_features
from lh2face.evaluation.identification import (
    identification,
    merged_identification,
    rates,
    rates_over_galleries,
    search,
)
from lh2face.evaluation.matching import expected_cosine, mutual_likelihood
from lh2face.evaluation.pooling import pool_media, pool_templates
from lh2face.evaluation.quality import (
    calibrated_cosine,
    calibration,
    error_versus_reject,
    kappa_scale,
    reject_areas,
)
from lh2face.evaluation.roc import roc_curve, share_of, tar_at_far
from lh2face.evaluation.scores import verification_scores
from lh2face.evaluation.verification import (
    best_threshold,
    fold_accuracy,
    fold_decisions,
    grid_threshold,
)
from lh2face.functional import vmf

RNG = np.random.default_rng(0)
FARS = [1e-4, 1e-3, 1e-2, 1e-1]


def naive_templates(features, templates, media):
    pooled = []
    for template in sorted(set(templates)):
        total = 0
        for medium in sorted(set(media[templates == template])):
            total = total + features[(templates == template) & (media == medium)].mean(axis=0)
        pooled.append(total / np.linalg.norm(total))
    return np.array(pooled)


def test_pooling_equals_loops():
    features = RNG.normal(size=(60, 8)).astype(np.float32)
    templates, media = RNG.integers(3, 12, 60), RNG.integers(0, 5, 60)
    pooled, ids = pool_templates(features, templates, media)
    assert ids.tolist() == sorted(set(templates))
    np.testing.assert_allclose(pooled, naive_templates(features, templates, media), atol=1e-6)


def test_options_of_features_change_embeddings_as_documented():
    embeddings, score = RNG.normal(size=(4, 2, 3)), np.array([0.5, 1, 2, 0.1])
    plain = face_features(embeddings, score, flip=False, norm=False, score=False)
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1)
    full = face_features(embeddings, score, flip=True, norm=True, score=True)
    np.testing.assert_allclose(full, embeddings.mean(1) * score[:, None])


def test_pooling_by_kappa_has_known_values():
    # A template has two media; the first has two unit directions with κ 3 and 1.
    embeddings = np.array([[[3.0, 0]], [[0, 1.0]], [[2.0, 0]]])
    kappa = concentrations(embeddings)
    assert kappa.tolist() == [3, 1, 2]
    features = face_features(embeddings, np.ones(3), flip=True, norm=False, score=False)
    one, media = np.array([4, 4, 4]), np.array([0, 0, 1])
    pooled, _ = pool_media(features, one, media, weights=kappa)
    np.testing.assert_allclose(pooled, [[0.75 + 1, 0.25]])
    pooled, _ = pool_media(features, one, media, weights=np.array([0.0, 0, 1]))
    np.testing.assert_allclose(pooled, [[1, 0]])


def test_features_that_are_not_finite_are_named():
    features = np.zeros((3, 4), np.float32)
    features[1, 2] = np.nan
    with pytest.raises(EvaluationError, match="features: row 1 is not finite"):
        pool_templates(features, np.array([7, 5, 5]), np.zeros(3, int))
    with pytest.raises(EvaluationError, match="3 rows for 2 images"):
        pool_templates(features, np.array([7, 5]), np.zeros(2, int))


def test_scores_are_cosines_and_absent_templates_are_named():
    templates, ids = np.eye(3, dtype=np.float32), np.array([2, 5, 9])
    scores = verification_scores(templates, ids, np.array([2, 9]), np.array([2, 5]))
    assert scores.tolist() == [1, 0]
    with pytest.raises(EvaluationError, match="template 7"):
        verification_scores(templates, ids, np.array([2]), np.array([7]))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(features, "FACES", 50)
    monkeypatch.setattr(pooling, "FACES", 50)
    monkeypatch.setattr(scores, "PAIRS", 500)
    monkeypatch.setattr(scores, "TILE_BITS", 4)
    monkeypatch.setattr(scores, "TILE", 16)


@pytest.mark.parametrize("templates", [7, 100])
@pytest.mark.parametrize("pairs", [1, 499, 5000])
@pytest.mark.parametrize("far_apart", [1, 10**9])
def test_scores_do_not_depend_on_blocks_and_tiles(small_blocks, templates, pairs, far_apart):
    vectors = RNG.normal(size=(templates, 12))
    ids = np.sort(RNG.choice(10 * templates, templates, replace=False)) * far_apart
    first, second = RNG.integers(templates, size=(2, pairs))
    scores = verification_scores(vectors, ids, ids[first], ids[second])
    np.testing.assert_allclose(scores, (vectors[first] * vectors[second]).sum(1), atol=1e-12)
    # A pair has the same score to the last bit for any block and tile; otherwise ties would break.
    _, pair = np.unique(np.sort([first, second], axis=0), axis=1, return_inverse=True)
    by_pair = np.full(pair.max() + 1, np.nan)
    by_pair[pair] = scores
    np.testing.assert_array_equal(by_pair[pair], scores)


def test_pooling_does_not_depend_on_blocks(small_blocks):
    test_pooling_equals_loops()


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch):
    monkeypatch.setattr(scores, "PAIRS", 1 << 14)
    vectors, ids = RNG.normal(size=(300, 16)), np.arange(300)

    def working_memory(pairs):
        first, second = RNG.integers(300, size=(2, pairs))
        tracemalloc.start()
        verification_scores(vectors, ids, first, second)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - 8 * pairs

    assert working_memory(500_000) < 1.05 * working_memory(50_000)


@pytest.mark.parametrize("duplicates", [0, 3000])
def test_tar_equals_that_of_the_usual_scripts_to_every_printed_digit(tmp_path, duplicates):
    meta = synthetic_meta(PROTOCOLS["ijbc"].scaled(0.03))
    write_features(tmp_path / "features.npy", meta, dim=64)
    features = np.load(tmp_path / "features.npy", mmap_mode="r")
    again = RNG.integers(len(meta.genuine), size=duplicates)
    first, second = np.r_[meta.first, meta.second[again]], np.r_[meta.second, meta.first[again]]
    genuine = np.r_[meta.genuine, meta.genuine[again]]
    templates, ids = pool_templates(features, meta.template_ids, meta.media_ids)
    found = tar_at_far(verification_scores(templates, ids, first, second), genuine, FARS)

    pooled = naive_templates(features, meta.template_ids, meta.media_ids)
    rows = {template: row for row, template in enumerate(ids.tolist())}
    a, b = ([rows[t] for t in side.tolist()] for side in (first, second))
    far, tar, _ = sklearn_roc(genuine, np.sum(pooled[a] * pooled[b], axis=-1))
    far, tar = np.flipud(far), np.flipud(tar)
    expected = [tar[min(zip(abs(far - x), range(len(far)), strict=True))[1]] for x in FARS]
    assert [f"{100 * x:.2f}" for x in found] == [f"{100 * x:.2f}" for x in expected]
    assert 0 < found[0] < found[-1] < 1


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=80).filter(
        lambda rows: len({genuine for _, genuine in rows}) == 2
    )
)
def test_roc_and_tar_equal_scikit_learns_with_ties(rows):
    scores, genuine = (np.array(column) for column in zip(*rows, strict=True))
    fpr, tpr, _ = sklearn_roc(genuine, scores)
    far, tar = roc_curve(scores, genuine)
    np.testing.assert_allclose(far, fpr)
    np.testing.assert_allclose(tar, tpr)
    # insightface searches the curve from its end and takes the first of the nearest points.
    fpr, tpr = np.flipud(fpr), np.flipud(tpr)
    for wanted in (1e-3, 0.1, 0.5):
        _, nearest = min(list(zip(abs(fpr - wanted), range(len(fpr)), strict=True)))
        assert tar_at_far(scores, genuine, [wanted])[0] == pytest.approx(tpr[nearest])


@pytest.mark.parametrize(
    ("scores", "genuine", "message"),
    [
        ([1.0, 2.0], [True, True], "no impostor"),
        ([1.0, 2.0], [False, False], "no genuine"),
        ([1.0, np.nan], [True, False], "scores: expected finite numbers, found nan at 1"),
    ],
)
def test_pairs_without_a_figure_are_refused(scores, genuine, message):
    with pytest.raises(EvaluationError, match=message):
        roc_curve(np.array(scores), np.array(genuine))


def test_identification_equals_loops():
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


def toolbox_1n(gallery, gallery_subjects, probes, probe_subjects, fpirs):
    """Return figures of one gallery, computed in loops as in insightface's ``ijb_evals.py``."""
    first, hits, alarms = 0, [], []
    for probe, subject in zip(probes, probe_subjects, strict=True):
        scores = [float(probe @ face) for face in gallery]
        if subject not in gallery_subjects:
            alarms.append(max(scores))
            continue
        mate = scores[gallery_subjects.tolist().index(subject)]
        others = [s for s, g in zip(scores, gallery_subjects, strict=True) if g != subject]
        first += mate > max(others)
        hits.append((mate, mate > max(others)))
    alarms.sort(reverse=True)
    thresholds = [alarms[max(int(len(alarms) * fpir) - 1, 0)] for fpir in fpirs]
    tpir = [sum(ahead and mate > t for mate, ahead in hits) / len(hits) for t in thresholds]
    return first, tpir


def test_insightface_figures_equal_its_own_formula():
    people, fpirs = RNG.normal(size=(30, 8)), [0.01, 0.1, 0.5]
    subjects = RNG.integers(0, 30, 200)
    probes = people[subjects] + 0.8 * RNG.normal(size=(200, 8))
    # Galleries differ in size, which weighs them in the mean over probes alone.
    lists = [(people[part], np.arange(30)[part]) for part in (slice(0, 6), slice(6, 30))]
    found = [search(*gallery, probes, subjects) for gallery in lists]
    once = np.ones((200, 1))
    cmc, tpir = (x[:, 0] for x in rates_over_galleries(found, fpirs, once, insightface=True))
    firsts, each = zip(*(toolbox_1n(*g, probes, subjects, fpirs) for g in lists), strict=True)
    assert cmc[0] == pytest.approx(sum(firsts) / 200)
    np.testing.assert_allclose(tpir, np.mean(each, axis=0))

    plain_cmc, plain_tpir = (x[:, 0] for x in rates_over_galleries(found, fpirs, once))
    singly = [rates(one, fpirs, once) for one in found]
    np.testing.assert_allclose(plain_cmc, np.mean([c[:, 0] for c, _ in singly], axis=0))
    np.testing.assert_allclose(plain_tpir, np.mean([t[:, 0] for _, t in singly], axis=0))
    assert abs(plain_cmc[0] - cmc[0]) > 0.001 and (plain_tpir >= tpir).all()
    with pytest.raises(EvaluationError, match="galleries: expected at least one"):
        rates_over_galleries([], fpirs, once)


def test_a_share_is_not_rounded_down_by_one():
    # 0.29 · 100 is 28.999… in floating point.
    assert share_of(0.29, 100) == 29
    assert all(share_of(k / n, n) == k for n in range(1, 300) for k in range(n + 1))
    assert share_of(0.0199, 100) == 1 and share_of(0.999999, 10) == 9


def test_as_many_false_alarms_are_accepted_as_the_fpir_allows():
    probes = np.r_[np.linspace(0, 1, 2900), 2][:, None]
    subjects = np.r_[np.full(2900, 9), 0]
    mate = np.sort(probes[:-1, 0])[-30] + 1e-6
    found = search(np.ones((1, 1)), np.zeros(1, int), probes, subjects)
    found.best_mate[-1] = mate
    _, tpir = rates(found, [0.01], np.ones((2901, 1)))
    assert tpir[0, 0] == 1
    found.best_mate[-1] = mate - 2e-6
    assert rates(found, [0.01], np.ones((2901, 1)))[1][0, 0] == 0


@pytest.mark.parametrize("dim", [3, 512])
@pytest.mark.parametrize("size", [2, 7, 33])
def test_identical_photos_tie_for_any_rounding(dim, size):
    """All gallery faces and probes are the same photo, so the mate is ranked last and is no hit."""
    photo = RNG.normal(size=dim)
    # Pooling gives the same direction, but the last bits depend on the number of copies.
    copies = np.stack([sum([photo] * k) for k in range(1, size + 1)])
    gallery = copies / np.linalg.norm(copies, axis=1, keepdims=True)
    probes = gallery[RNG.integers(0, size, 50)]
    subjects = np.r_[RNG.integers(0, size, 25), np.full(25, 99)]
    result = identification(gallery, np.arange(size), probes, subjects, [0.01], ranks=size)
    assert result.cmc.tolist() == [0.0] * (size - 1) + [1.0] and result.tpir[0] == 0
    alone = identification(gallery[:1], np.zeros(1, int), probes, np.where(subjects == 99, 99, 0),
                           [0.01])  # fmt: skip
    assert alone.cmc[0] == 1 and alone.tpir[0] == 0
    merged = merged_identification(gallery, np.arange(size), probes[:25], subjects[:25], [0.01])
    assert merged.tpir[0] == 0


def test_ties_do_not_help_the_mate():
    result = identification(
        np.ones((3, 1)), np.arange(3), np.ones((2, 1)), np.array([0, 9]), [0.1], ranks=3
    )
    assert result.cmc.tolist() == [0, 0, 1]


def test_weighted_rates_equal_rates_of_repeated_probes():
    gallery, probes = RNG.normal(size=(9, 4)), RNG.normal(size=(40, 4))
    subjects = RNG.integers(0, 14, 40)
    weights = RNG.integers(0, 4, (40, 5))
    found = search(gallery, np.arange(9), probes, subjects)
    cmc, tpir = rates(found, [0.05, 0.3], weights, ranks=9)
    for r in range(5):
        often = np.repeat(np.arange(40), weights[:, r])
        one = identification(
            gallery, np.arange(9), probes[often], subjects[often], [0.05, 0.3], ranks=9
        )
        np.testing.assert_allclose(cmc[:, r], one.cmc)
        np.testing.assert_allclose(tpir[:, r], one.tpir)


def test_merged_galleries_count_impostor_pairs():
    gallery = RNG.normal(size=(12, 6))
    subjects = RNG.integers(0, 12, 50)
    probes = gallery[subjects] + RNG.normal(size=(50, 6))
    result = merged_identification(gallery, np.arange(12), probes, subjects, [0.01, 0.1], ranks=12)
    scores = probes @ gallery.T
    mate = scores[np.arange(50), subjects]
    impostors = sorted(np.delete(scores.ravel(), np.arange(50) * 12 + subjects), reverse=True)
    expected = [np.mean(mate > impostors[k - 1]) for k in (1, 5)]
    np.testing.assert_allclose(result.tpir, expected)
    assert result.cmc[0] == np.mean(scores.argmax(1) == subjects) and result.cmc[-1] == 1
    with pytest.raises(EvaluationError, match="subject 99 is in none"):
        merged_identification(gallery, np.arange(12), probes[:1], np.array([99]), [0.1])


@pytest.mark.parametrize(("subjects", "kind"), [([0, 0], "non-mated"), ([7, 8], "mated")])
def test_identification_needs_mated_and_non_mated_probes(subjects, kind):
    with pytest.raises(EvaluationError, match=f"no {kind}"):
        identification(np.ones((1, 1)), np.array([0]), np.ones((2, 1)), np.array(subjects), [0.1])


def test_accuracy_has_known_values():
    scores = RNG.normal(size=200)
    assert fold_accuracy(fold_decisions(scores + 10 * (scores > 0), scores > 0)) == (1.0, 0.0)
    threshold = best_threshold(scores, scores > 0.3)
    assert scores[scores <= 0.3].max() < threshold < scores[scores > 0.3].min()
    with pytest.raises(EvaluationError, match="at least 10"):
        fold_decisions(scores[:5], scores[:5] > 0)


def toolbox_accuracy(scores, same):
    """Return the accuracy over ten folds, in loops, as insightface's ``eval/verification.py``."""
    distances, accuracies = 2 - 2 * scores.astype(float), []
    for test in np.array_split(np.arange(len(scores)), 10):
        train = np.array([i for i in range(len(scores)) if i not in set(test.tolist())])
        best, chosen = -1.0, None
        for threshold in np.arange(0, 4, 0.01):
            accuracy = ((distances[train] < threshold) == same[train]).mean()
            if accuracy > best:
                best, chosen = accuracy, threshold
        accuracies.append(((distances[test] < chosen) == same[test]).mean())
    return float(np.mean(accuracies)), float(np.std(accuracies))


@pytest.mark.parametrize("pairs", [10, 127, 600])
def test_insightface_accuracy_equals_its_own_grid_search(pairs):
    same = RNG.random(pairs) < 0.5
    scores = (0.3 * same + 0.25 * RNG.normal(size=pairs)).clip(-1, 1).astype(np.float32)
    expected = toolbox_accuracy(scores, same)
    assert fold_accuracy(fold_decisions(scores, same, grid_threshold)) == pytest.approx(
        expected, abs=1e-12
    )


def test_the_grid_accepts_distances_below_its_threshold_only():
    # The squared distances are 0.5 and 1, and a distance equal to the threshold is rejected.
    threshold = grid_threshold(np.array([0.75, 0.5]), np.array([True, False]))
    assert 0.5 < threshold < 0.75
    # Thresholds 0.51 … 1.00 are right; the first is taken.
    assert threshold == np.nextafter(1 - np.arange(0, 4, 0.01)[51] / 2, 1)


def test_the_reject_curve_rewards_a_quality_that_predicts_errors():
    genuine = np.arange(2000) < 1000
    scores = RNG.normal(size=2000) + 2 * genuine
    knows = error_versus_reject(scores, genuine, np.where(genuine, scores, -scores))
    blind = error_versus_reject(scores, genuine, RNG.normal(size=2000))
    for curves in (knows, blind):
        assert curves.fnmr[0] == pytest.approx(0.1)
        assert 0.095 < curves.fnmr_at_far[0] <= 0.1  # no impostor may be between two levels
        limit = np.quantile(scores[genuine], 0.1)
        assert curves.far == (scores[~genuine] >= limit).mean()
    assert knows.fnmr[knows.rejected > 0.11].max() == 0
    areas = (reject_areas(knows), reject_areas(blind))
    for name in ("area", "area_at_far"):
        assert areas[0][name] < 0.02 < 0.07 < areas[1][name]


def test_a_quality_that_lowers_all_scores_tells_less_at_a_constant_far():
    """The curve equals the rule, written out, where all scores rise with the quality."""
    rng = np.random.default_rng(0)  # its own, so that the figures do not depend on other tests
    genuine = rng.random(40_000) < 0.5
    quality = rng.normal(size=40_000)
    scores = rng.normal(size=40_000) + 1.5 * genuine + quality
    found = error_versus_reject(scores, genuine, quality)
    areas = reject_areas(found)
    # Fewer pairs fail at a constant FAR too, because equal qualities leave less spread.
    assert areas["area"] < 0.025 < 0.06 < areas["area_at_far"] < 0.07
    levels = np.quantile(scores[genuine], np.linspace(0, 1, 1001))
    ranked = np.sort(quality[genuine])[::-1]
    for at in (0, 30, 60, 90):
        count = round(len(ranked) * (1 - found.rejected[at]))
        # At first nothing is rejected, not even an impostor below every genuine quality.
        kept = quality >= (ranked[count - 1] if at else -np.inf)
        others = scores[kept & ~genuine]
        threshold = next(level for level in levels if (others >= level).mean() <= found.far)
        assert found.fnmr_at_far[at] == (scores[kept & genuine] < threshold).mean()


def test_reject_curves_without_any_impostor_that_is_kept_or_that_fails():
    genuine, scores = np.arange(40) < 20, np.r_[np.linspace(0.5, 1, 20), np.linspace(-1, 0, 20)]
    found = error_versus_reject(scores, genuine, genuine.astype(float))
    assert found.far == 0 and found.fnmr_at_far[0] == 0  # no impostor scores as high
    np.testing.assert_array_equal(found.fnmr_at_far[1:], found.fnmr[1:])
    worse = error_versus_reject(-scores, genuine, scores)
    assert worse.far == 1


def test_the_calibration_error_is_small_only_for_the_right_dimension():
    kappa = RNG.uniform(5, 60, (4000, 2))

    def draw(dim):
        # Cosines scatter around those expected for this dimension.
        return expected_cosine(*kappa.T, dim) + 0.1 * RNG.normal(size=4000)

    predicted, observed, error = calibration(expected_cosine(*kappa.T, 64), draw(64))
    assert len(predicted) == 10 and (np.diff(predicted) > 0).all()
    assert error == pytest.approx(np.abs(predicted - observed).mean())
    assert error < 0.01 < 0.05 < calibration(expected_cosine(*kappa.T, 64), draw(16))[2]
    assert calibration(np.array([0.5]), np.array([0.25]))[2] == 0.25


@pytest.mark.parametrize("dim", [4, 64, 512])
@pytest.mark.parametrize("scale", [0.05, 1, 30])
def test_the_fitted_scale_of_kappa_is_the_true_one(dim, scale):
    """Cosines scatter around those that κ predicts; κ is then divided by ``scale``."""
    kappa = RNG.uniform(dim / 4, dim, (4000, 2))
    observed = expected_cosine(*kappa.T, dim) + 0.05 * RNG.normal(size=4000)
    found = kappa_scale(kappa / scale, observed, dim)
    assert found == pytest.approx(scale, rel=0.03)
    mean = expected_cosine(*(found * kappa.T / scale), dim).mean()
    assert mean == pytest.approx(observed.mean(), abs=1e-5)


def test_calibrated_cosines_are_fitted_on_other_pairs():
    kappa, half = RNG.uniform(5, 60, (4000, 2)), np.arange(4000) < 2000
    observed = expected_cosine(*kappa.T, 64) + 0.02 * RNG.normal(size=4000)
    predicted = calibrated_cosine(kappa / 7, observed, half, 64)
    assert calibration(predicted, observed)[2] < 0.01
    again = calibrated_cosine(kappa / 7, np.where(half, 0, observed), half, 64)
    np.testing.assert_array_equal(again[half], predicted[half])
    assert again[~half].max() < 1e-6
    alone = calibrated_cosine(kappa / 7, observed, np.ones(4000, bool), 64)
    assert alone.mean() == pytest.approx(observed.mean(), abs=1e-5)


def test_the_fitted_scale_ends_at_its_bounds():
    kappa = np.ones((1, 2))
    assert kappa_scale(kappa, np.array([-0.5]), 64) == pytest.approx(np.exp(-20))
    assert kappa_scale(kappa, np.array([1.0]), 64) == pytest.approx(np.exp(20))


def test_the_expected_cosine_equals_that_of_samples():
    n, rounds = 3, 20000

    def samples(kappa):
        # In three dimensions the cosine to the mode has an inverse distribution in closed form.
        u = RNG.uniform(size=rounds)
        cos = 1 + np.log(u + (1 - u) * np.exp(-2 * kappa)) / kappa
        angle, sin = RNG.uniform(0, 2 * np.pi, rounds), np.sqrt(1 - cos**2)
        return np.stack([sin * np.cos(angle), sin * np.sin(angle), cos], axis=1)

    found = (samples(4.0) * samples(9.0)).sum(axis=1)
    expected = expected_cosine(np.array(4.0), np.array(9.0), n)
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(rounds)


def test_mutual_likelihood_equals_that_computed_from_vectors():
    vectors = RNG.normal(size=(40, 2, 8)) * RNG.uniform(0.1, 9, (40, 2, 1))
    kappa = np.linalg.norm(vectors, axis=2)
    directions = torch.from_numpy(vectors / kappa[..., None])
    cos = (directions[:, 0] * directions[:, 1]).sum(1).numpy()
    expected = vmf.mutual_likelihood(
        directions[:, 0], torch.from_numpy(kappa[:, 0]),
        directions[:, 1], torch.from_numpy(kappa[:, 1]), dim=8,
    )  # fmt: skip
    joint = np.linalg.norm(vectors.sum(axis=1), axis=1)
    first, second, together = (
        vmf.log_normalizer_ratio(torch.from_numpy(k), 8).numpy() for k in (*kappa.T, joint)
    )
    np.testing.assert_allclose(expected, first + second - together, atol=1e-9)
    np.testing.assert_allclose(mutual_likelihood(cos, *kappa.T, 8), expected, atol=1e-9)
    swapped = mutual_likelihood(cos, *kappa.T[::-1], 8)
    np.testing.assert_array_equal(mutual_likelihood(cos, *kappa.T, 8), swapped)
