"""Every public function refuses, in one line, arrays that would give meaningless figures."""

from dataclasses import replace

import numpy as np
import pytest

from lh2face.data.synthetic_protocol import PROTOCOLS, synthetic_meta
from lh2face.evaluation import (
    bootstrap,
    conditions,
    features,
    identification,
    matching,
    pooling,
    quality,
    roc,
    scores,
)
from lh2face.evaluation import verification as bins
from lh2face.evaluation.checks import EvaluationError
from lh2face.evaluation.protocol import Protocol, run_protocol

S = np.linspace(0, 1, 20)
L = np.arange(20) % 2 == 0
NAN = np.where(np.arange(20) == 3, np.nan, S)
IDS = np.arange(20)
ONES = np.ones((20, 1))
UNIT = np.eye(20)
FACES = np.ones((20, 2, 4), np.float32)
FOUND = identification.search(UNIT[:5], IDS[:5], UNIT, IDS)
META = synthetic_meta(replace(PROTOCOLS["ijbb"].scaled(0.003), images=60, impostor=100))
EMBEDDINGS = np.random.default_rng(0).normal(size=(60, 2, 8))

REFUSED = {
    "roc: 0 and 1 for labels": (roc.roc_curve, (S, L.astype(int)), "genuine: expected bool"),
    "roc: all NaN": (roc.roc_curve, (S * np.nan, L), "scores: expected finite"),
    "roc: infinite": (roc.roc_curve, (S + np.inf, L), "scores: expected finite"),
    "roc: shapes": (roc.roc_curve, (S, L[:-1]), r"found scores \(20,\), genuine \(19,\)"),
    "roc: two axes": (roc.roc_curve, (S[:, None], L[:, None]), "expected arrays of one axis"),
    "roc: empty": (roc.roc_curve, (S[:0], L[:0]), "at least one entry"),
    "roc: text": (roc.roc_curve, (S.astype(str), L), "scores: expected numbers"),
    "roc: FAR": (roc.tar_at_far, (S, L, [np.nan]), "fars: expected rates"),
    "roc: no FAR": (roc.tar_at_far, (S, L, []), "fars: expected rates"),
    "roc: curve": (roc.nearest_tar, (S, NAN, [0.1]), "tar: expected rates"),
    "roc: curve's length": (roc.nearest_tar, (S, S[1:], [0.1]), "expected arrays"),
    "roc: impostors": (roc.tar_figures, (S, S, [0.1], 0), "impostors: expected at least 1"),
    "roc: threshold": (roc.threshold_at_far, (NAN, 0.1), "impostor_scores: expected finite"),
    "roc: threshold's FAR": (roc.threshold_at_far, (S, 1.0), "far: expected a rate"),
    "roc: threshold at NaN": (roc.threshold_at_far, (S, np.nan), "far: expected a rate"),
    "roc: no FAR to draw": (roc.thinned, (S * 0, S), "far: expected a rate above 0"),
    "roc: kinds": (roc.check_labels, (L.astype(float),), "labels: expected bool"),
    "bin: NaN": (bins.fold_decisions, (S * np.nan, L), "scores: expected finite"),
    "bin: 0 and 1": (bins.fold_decisions, (S, L.astype(int)), "same: expected bool"),
    "bin: shapes": (bins.fold_decisions, (S, L[1:]), "expected arrays"),
    "bin: threshold": (bins.best_threshold, (NAN, L), "scores: expected finite"),
    "bin: grid": (bins.grid_threshold, (NAN, L), "scores: expected finite"),
    "bin: folds": (bins.fold_accuracy, (L[:9],), "at least 10"),
    "bin: folds of numbers": (bins.fold_accuracy, (S,), "right: expected bool"),
    "reject: scores": (quality.error_versus_reject, (S * np.nan, L, S), "scores: expected finite"),
    "reject: quality": (quality.error_versus_reject, (S, L, NAN), "quality: expected finite"),
    "reject: shapes": (quality.error_versus_reject, (S, L, S[1:]), "expected arrays"),
    "reject: empty": (quality.error_versus_reject, (S[:0], L[:0], S[:0]), "at least one entry"),
    "reject: kinds": (quality.error_versus_reject, (S, L | True, S), "no impostor pairs"),
    "reject: area": (quality.reject_area, (S, NAN), "fnmr: expected rates"),
    "reject: no width": (quality.reject_area, (S[:1], S[:1]), "rejected: expected rising"),
    "calibration: NaN": (quality.calibration, (NAN, S), "predicted: expected finite"),
    "calibration: empty": (quality.calibration, (S[:0], S[:0]), "at least one entry"),
    "calibration: bins": (quality.calibration, (S, S, 0), "bins: expected at least 1"),
    "vMF: cosine": (matching.mutual_likelihood, (S + 1, S, S, 8), "cos: expected -1 to 1"),
    "vMF: NaN": (matching.mutual_likelihood, (NAN, S, S, 8), "cos: expected finite"),
    "vMF: κ": (matching.mutual_likelihood, (S, -S, S, 8), "kappa: expected at least 0"),
    "vMF: κ NaN": (matching.expected_cosine, (S, NAN, 8), "kappa2: expected finite"),
    "vMF: n": (matching.expected_cosine, (S, S, 1), "dim: expected at least 2"),
    "faces: views": (features.concentrations, (np.ones((20, 3, 4)),), r"found \(20, 3, 4\)"),
    "faces: none": (features.concentrations, (FACES[:0],), "expected at least one face"),
    "faces: NaN": (features.concentrations, (FACES * np.nan,), "row 0: .* found nan"),
    "faces: too long": (features.concentrations, (FACES * 3e38,), "row 0: .* found inf"),
    "faces: long": (features.concentrations, (FACES * np.float32(1e30),), "above 0, found inf"),
    "faces: zero": (features.concentrations, (FACES * 0,), "a finite length above 0, found 0.0"),
    "pooling: weights": (pooling.pool_media, (UNIT, IDS, IDS, -S), "weights: expected at least 0"),
    "pooling: NaN": (pooling.pool_media, (UNIT, IDS, IDS, NAN), "weights: expected finite"),
    "pooling: length": (pooling.pool_media, (UNIT, IDS, IDS, S[1:]), "expected arrays"),
    "pooling: axes": (pooling.pool_media, (FACES, IDS, IDS), r"features: expected \(N, d\)"),
    "pairs: none": (scores.verification_scores, (UNIT, IDS, IDS[:0], IDS[:0]), "least one entry"),
    "pairs: length": (scores.verification_scores, (UNIT, IDS, IDS, IDS[1:]), "expected arrays"),
    "pairs: NaN": (scores.verification_scores, (UNIT * np.nan, IDS, IDS, IDS), "templates: "),
    "pairs: rows": (scores.verification_scores, (UNIT[1:], IDS, IDS, IDS), r"expected \(20, d\)"),
    "ids: order": (scores.template_rows, (IDS[::-1], IDS), "ids: expected each once, ascending"),
    "ids: type": (scores.template_rows, (IDS.astype(float), IDS), "ids: expected whole numbers"),
    "1:N: NaN": (
        identification.search, (UNIT[:5], IDS[:5], UNIT * np.nan, IDS), "probes: expected finite"
    ),
    "1:N: no gallery": (
        identification.search, (UNIT[:0], IDS[:0], UNIT, IDS), "gallery_subjects: expected at least"
    ),
    "1:N: no probes": (
        identification.search, (UNIT, IDS, UNIT[:0], IDS[:0]), "probe_subjects: expected at least"
    ),
    "1:N: d": (
        identification.search, (UNIT[:5, :3], IDS[:5], UNIT, IDS), r"gallery: \(5, 3\) of 5"
    ),
    "1:N: subjects": (
        identification.merged_identification, (UNIT, IDS[1:], UNIT, IDS, [0.1]), "does not fit"
    ),
    "1:N: scores": (
        identification.search, (UNIT[:5], IDS[:5], UNIT, IDS, lambda cos, rows: cos * np.nan),
        "scores: expected finite",
    ),
    "rates: FPIR": (identification.rates, (FOUND, [1.5], ONES), "fpirs: expected rates"),
    "rates: weights": (identification.rates, (FOUND, [0.1], ONES[1:]), r"expected \(20, R\)"),
    "rates: below 0": (identification.rates, (FOUND, [0.1], -ONES), "weights: expected at least 0"),
    "rates: NaN": (identification.rates, (FOUND, [0.1], ONES * np.nan), "weights: expected finite"),
    "rates: ranks": (identification.rates, (FOUND, [0.1], ONES, 0), "ranks: expected at least 1"),
    "draws: NaN": (
        bootstrap.tar_draws, (NAN, L, IDS, IDS, [0.1], ONES), "scores: expected finite"
    ),
    "draws: labels": (
        bootstrap.tar_draws, (S, L.astype(int), IDS, IDS, [0.1], ONES), "genuine: expected bool"
    ),
    "draws: rows": (
        bootstrap.tar_draws, (S, L, IDS, IDS + 1, [0.1], ONES), "weights: expected .* T above 20"
    ),
    "draws: negative": (
        bootstrap.tar_draws, (S, L, IDS - 1, IDS, [0.1], ONES), "weights: expected"
    ),
    "draws: FAR": (bootstrap.tar_draws, (S, L, IDS, IDS, [-0.1], ONES), "fars: expected rates"),
    "draws: infinite": (bootstrap.interval, (S + np.inf,), "draws: expected finite"),
    "draws: none": (bootstrap.interval, (S[:0],), "draws: expected at least one"),
    "draws: level": (bootstrap.interval, (S, 95), "level: expected a share"),
    "conditions: none": (conditions.pairs_with_reference, (IDS[:0], "a"), "at least one entry"),
    "conditions: name": (
        conditions.pairs_with_reference, (np.array(["a", "b"]), "c"), "found 'c', but no face"
    ),
    "conditions: shapes": (
        conditions.tar_by_condition, (UNIT[1:], S, IDS, IDS.astype(str), Protocol()),
        "directions: expected",
    ),
    "conditions: NaN": (
        conditions.tar_by_condition, (UNIT, NAN, IDS, IDS.astype(str), Protocol()),
        "kappa: expected finite",
    ),
    "protocol: rows": (run_protocol, (EMBEDDINGS[1:], META, Protocol()), "embeddings: 59 for 60"),
    "protocol: views": (
        run_protocol, (np.ones((60, 3, 8)), META, Protocol()), r"found \(\d+, 3, 8\)"
    ),
    "protocol: NaN": (run_protocol, (EMBEDDINGS * np.nan, META, Protocol()), "is not finite"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_arrays_are_refused_in_one_line(function, arguments, message):
    with pytest.raises(EvaluationError, match=message) as raised:
        function(*arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"vmf_dim": 1}, "vmf_dim: expected at least 2, found 1"),
        ({"seed": -1}, "seed: expected at least 0, found -1"),
        ({"bootstrap": 1}, "bootstrap: expected 0, or 2 to 10000, found 1"),
        ({"bootstrap": 10**9}, "bootstrap: expected 0, or 2 to 10000"),
        ({"far": (0.1, np.nan)}, "far: expected rates from 0 to 1"),
        ({"far": ()}, "far: expected rates from 0 to 1"),
        ({"pooling": "median"}, "pooling: expected one of .*found 'median'"),
        ({"formulas": "mine"}, "formulas: expected one of"),
    ],
)
def test_options_out_of_range_are_refused(switches, message):
    with pytest.raises(EvaluationError, match=message):
        Protocol(**switches)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i4"])
def test_figures_do_not_depend_on_the_dtype_of_embeddings(dtype):
    """Most norms are above 256, whose square overflows in float16."""
    whole = np.rint(200 * np.random.default_rng(1).normal(size=(60, 2, 8))).clip(-2000, 2000)
    protocol = Protocol(pooling="kappa", bootstrap=5)
    expected = run_protocol(whole, META, protocol)
    assert np.median(np.linalg.norm(whole, axis=2)) > 256
    found = run_protocol(whole.astype(dtype), META, protocol)
    assert found.figures == expected.figures
    kappa = features.concentrations(whole.astype(dtype))
    np.testing.assert_allclose(kappa, features.concentrations(whole), rtol=1e-6)
