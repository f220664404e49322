import numpy as np
import pytest
from sklearn.metrics import roc_curve as sklearn_roc

from lh2face.evaluation.bootstrap import draw_weights
from lh2face.evaluation.conditions import pairs_with_reference, tar_by_condition
from lh2face.evaluation.matching import mutual_likelihood
from lh2face.evaluation.protocol import Protocol

RNG = np.random.default_rng(0)
KINDS = np.array(["frontal", "frontal", "profile", "aged", "aged", "frontal"])
PEOPLE = 12
FARS = (0.001, 0.01, 0.1)


def faces():
    """Return six faces per person; profiles are harder than the others."""
    centres = RNG.normal(size=(PEOPLE, 1, 16))
    noise = np.where(KINDS == "profile", 2.0, 1.0)[:, None]
    vectors = (centres + noise * RNG.normal(size=(PEOPLE, len(KINDS), 16))).reshape(-1, 16)
    kappa = RNG.uniform(5, 30, len(vectors))
    people = np.repeat(np.arange(PEOPLE), len(KINDS))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit, kappa, people, np.tile(KINDS, PEOPLE)


def naive_pairs(conditions, condition):
    found = set()
    for i, one in enumerate(conditions):
        for j, other in enumerate(conditions):
            if one == "frontal" and other == condition and i != j and (j, i) not in found:
                found.add((i, j))
    return found


@pytest.mark.parametrize("condition", ["frontal", "profile", "aged"])
def test_each_pair_comes_once(condition):
    first, second = pairs_with_reference(np.tile(KINDS, 3), condition)
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert set(pairs) == naive_pairs(np.tile(KINDS, 3), condition)
    assert len(pairs) == len(set(pairs))


def test_the_number_of_pairs_is_limited_by_leaving_out_reference_faces():
    kinds = np.tile(KINDS, 3)
    first, second = pairs_with_reference(kinds, "profile", most=9)
    # Of nine frontal faces every third is kept; there are three profiles.
    assert sorted(set(first.tolist())) == np.flatnonzero(kinds == "frontal")[::3].tolist()
    assert len(first) == 9 and set(second.tolist()) == {2, 8, 14}


@pytest.mark.parametrize("matching", ["cosine", "mutual_likelihood"])
def test_figures_and_draws_equal_those_of_scikit_learn(matching):
    directions, kappa, people, conditions = faces()
    protocol = Protocol(far=FARS, matching=matching, vmf_dim=16)
    weights = draw_weights(PEOPLE, rounds=5, seed=3)
    figures, draws = tar_by_condition(directions, kappa, people, conditions, protocol, weights)
    assert list(figures) == ["frontal", "profile", "aged"]
    for condition in figures:
        first, second = np.array(sorted(naive_pairs(conditions, condition))).T
        scores = (directions[first] * directions[second]).sum(1)
        if matching == "mutual_likelihood":
            scores = mutual_likelihood(scores, kappa[first], kappa[second], 16)
        genuine = people[first] == people[second]
        times = weights[people]
        pair = np.where(genuine[:, None], times[first], times[first] * times[second])
        # A last round draws everybody once, for the figures, which are read off a thinned curve.
        for r, weight in enumerate([*pair.T, np.ones(len(pair))]):
            drawn = weight > 0
            far, tar, _ = sklearn_roc(
                genuine[drawn], scores[drawn], sample_weight=weight[drawn],
                drop_intermediate=r == 5,
            )  # fmt: skip
            far, tar = far[::-1], tar[::-1]
            for wanted in FARS:
                if wanted * (~genuine).sum() < 1:
                    continue
                rounds = draws[f"{condition}.{wanted:g}"]
                found = [*rounds, figures[condition][f"{wanted:g}"]][r]
                assert found == pytest.approx(tar[np.abs(far - wanted).argmin()])
    assert figures["profile"]["0.1"] < figures["frontal"]["0.1"]


def test_a_condition_with_too_few_pairs_is_left_out():
    directions, kappa, people, conditions = faces()
    protocol = Protocol(far=(1e-6, 0.1))
    figures, draws = tar_by_condition(directions, kappa, people, conditions, protocol)
    assert figures["frontal"]["1e-06"] is None and not draws
    # With one person there are no impostors.
    alone = people == 0
    figures, _ = tar_by_condition(
        directions[alone], kappa[alone], people[alone], conditions[alone], protocol
    )
    assert figures == {}


def test_a_condition_of_few_pairs_has_no_draws():
    directions, kappa, people, conditions = (values[:12] for values in faces())
    protocol = Protocol(far=(0.001,))
    weights = draw_weights(2, rounds=5, seed=3)
    figures, draws = tar_by_condition(directions, kappa, people, conditions, protocol, weights)
    assert set(figures) == {"frontal", "profile", "aged"} and not draws
    assert all(tar == {"0.001": None} for tar in figures.values())
