from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_curve as sklearn_roc

from lh2face.data.synthetic_protocol import PROTOCOLS, synthetic_meta
from lh2face.evaluation.checks import EvaluationError
from lh2face.evaluation.matching import mutual_likelihood
from lh2face.evaluation.protocol import Protocol, run_protocol

META = synthetic_meta(PROTOCOLS["ijbc"].scaled(0.004))
PROTOCOL = Protocol(far=(1e-9, 1e-2, 1e-1), vmf_dim=16)
SUBJECTS = {
    template: subject
    for templates in (*META.galleries.values(), META.probes)
    for template, subject in zip(
        templates.template_ids.tolist(), templates.subject_ids.tolist(), strict=True
    )
}


@pytest.fixture(scope="module")
def embeddings():
    rng = np.random.default_rng(0)
    means = {subject: rng.normal(size=16) for subject in sorted(set(SUBJECTS.values()))}
    own = np.stack([means[SUBJECTS[template]] for template in META.template_ids.tolist()])
    return (own[:, None] + 6.0 * rng.normal(size=(len(own), 2, 16))).astype(np.float32)


def naive_templates(embeddings, protocol):
    """Compute the protocol in loops: template id -> vector, not normalised."""
    features = embeddings.astype(float)
    features = features.mean(1) if protocol.flip else features[:, 0]
    if not protocol.norm:
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    if protocol.detector_score:
        features = features * META.detector_score[:, None]
    kappa = np.linalg.norm(embeddings, axis=2).mean(1)
    weights = kappa if protocol.pooling == "kappa" else np.ones(len(kappa))
    templates = {}
    for template in set(META.template_ids.tolist()):
        mine, total = META.template_ids == template, 0
        for medium in set(META.media_ids[mine].tolist()):
            faces = mine & (META.media_ids == medium)
            total = total + np.average(features[faces], axis=0, weights=weights[faces])
        templates[template] = total
    return templates


def naive_score(a, b, protocol):
    ka, kb = np.linalg.norm(a), np.linalg.norm(b)
    cos = a @ b / ka / kb
    if protocol.matching == "cosine":
        return cos
    return float(mutual_likelihood(np.array(cos), np.array(ka), np.array(kb), protocol.vmf_dim))


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"flip": False, "norm": False, "detector_score": False},
        {"pooling": "kappa"},
        {"matching": "mutual_likelihood"},
        {"galleries": "merged", "matching": "mutual_likelihood", "pooling": "kappa"},
    ],
)
def test_every_option_equals_loops(embeddings, switches):
    protocol = replace(PROTOCOL, **switches)
    results = run_protocol(embeddings, META, protocol)
    templates = naive_templates(embeddings, protocol)
    pairs = zip(META.first.tolist(), META.second.tolist(), strict=True)
    scores = np.array([naive_score(templates[a], templates[b], protocol) for a, b in pairs])
    far, tar, _ = sklearn_roc(META.genuine, scores)
    far, tar = far[::-1], tar[::-1]
    found = results.figures["verification"]["tar"]
    assert found["1e-09"] is None
    for wanted in (1e-2, 1e-1):
        expected = tar[np.abs(far - wanted).argmin()]
        assert found[f"{wanted:g}"] == pytest.approx(expected, abs=1e-12)

    galleries = [
        list(zip(g.template_ids.tolist(), g.subject_ids.tolist(), strict=True))
        for g in META.galleries.values()
    ]
    if protocol.galleries == "merged":
        galleries = [[one for gallery in galleries for one in gallery]]
    ranks = []
    for gallery in galleries:
        firsts = []
        for probe in META.probes.template_ids.tolist():
            if SUBJECTS[probe] in {subject for _, subject in gallery}:
                ranking = sorted(
                    gallery, key=lambda g: -naive_score(templates[probe], templates[g[0]], protocol)
                )
                firsts.append(ranking[0][1] == SUBJECTS[probe])
        ranks.append(np.mean(firsts))
    assert results.figures["identification"]["rank"]["1"] == pytest.approx(np.mean(ranks))
    assert results.cmc[0] == pytest.approx(np.mean(ranks))


def test_intervals_contain_the_figures_and_runs_share_draws(embeddings):
    protocol = replace(PROTOCOL, bootstrap=40)
    first, again = (run_protocol(embeddings, META, protocol) for _ in range(2))
    figures = first.figures["verification"]
    for far, (low, high) in figures["tar_interval"].items():
        assert low < figures["tar"][far] < high
    ranks = first.figures["identification"]
    assert (
        ranks["tpir_interval"]["0.1"][0] < ranks["tpir"]["0.1"] < ranks["tpir_interval"]["0.1"][1]
    )
    assert set(first.draws) == {
        "verification.tar.0.01", "verification.tar.0.1",
        "identification.rank.1", "identification.rank.5", "identification.rank.10",
        "identification.tpir.0.01", "identification.tpir.0.1",
    }  # fmt: skip
    for name, draws in first.draws.items():
        assert draws.shape == (40,)
        np.testing.assert_array_equal(draws, again.draws[name])
    single = run_protocol(embeddings[:, :1], META, PROTOCOL)
    without_mirror = run_protocol(embeddings, META, replace(PROTOCOL, flip=False))
    assert single.figures == without_mirror.figures


def test_embeddings_that_do_not_fit_are_refused(embeddings):
    with pytest.raises(EvaluationError, match="embeddings: 3 for"):
        run_protocol(embeddings[:3], META, PROTOCOL)
